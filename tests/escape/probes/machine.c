/* The administration of the machine. What would change it is asked for in a way that fails once it is permitted. */

#define _GNU_SOURCE
#include "probe.h"

#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/io.h>
#include <sys/klog.h>
#include <sys/quota.h>
#include <sys/resource.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static int load_kernel(void)
{
    return verdict_on_permission("kexec_load", syscall(SYS_kexec_load, 0, 0, NULL, 0xFFFFUL));
}

static int load_kernel_file(void)
{
    return verdict_on_permission("kexec_file_load", syscall(SYS_kexec_file_load, -1, -1, 0, NULL, 0xFFFFUL));
}

static int load_module(void)
{
    return verdict_on_permission("init_module", syscall(SYS_init_module, "", 0, ""));
}

static int load_module_file(void)
{
    return verdict_on_permission("finit_module", syscall(SYS_finit_module, -1, "", 0));
}

static int remove_module(void)
{
    return verdict_on_permission("delete_module", syscall(SYS_delete_module, "zbuild_no_such_module", O_NONBLOCK));
}

static int restart(void)
{
    return verdict_on_permission("reboot", syscall(SYS_reboot, 0, 0, 0, NULL));
}

static int swap_on(void)
{
    return verdict_on_permission("swapon", swapon("/zbuild-no-such-file", 0));
}

static int swap_off(void)
{
    return verdict_on_permission("swapoff", swapoff("/zbuild-no-such-file"));
}

static int accounting(void)
{
    return verdict_on_permission("acct", acct("/zbuild-no-such-file"));
}

static int set_time(void)
{
    return verdict("settimeofday", syscall(SYS_settimeofday, NULL, NULL));
}

static int adjust_time(void)
{
    struct timex clock = {.modes = 0};
    if (adjtimex(&clock) == -1)
        return verdict("adjtimex", -1);
    clock.modes = ADJ_MAXERROR;
    return verdict("adjtimex", adjtimex(&clock));
}

static int adjust_clock(void)
{
    struct timex clock = {.modes = 0};
    return verdict("clock_adjtime", clock_adjtime(CLOCK_REALTIME, &clock));
}

static int set_host_name(void)
{
    char name[65] = "";
    gethostname(name, sizeof name - 1);
    return verdict("sethostname", sethostname(name, strlen(name)));
}

static int set_domain_name(void)
{
    char name[65] = "";
    if (getdomainname(name, sizeof name - 1) != 0)
        return 3;
    return verdict("setdomainname", setdomainname(name, strlen(name)));
}

static int quota(void)
{
    return verdict("quotactl(Q_SYNC)", quotactl(QCMD(Q_SYNC, USRQUOTA), NULL, 0, NULL));
}

static int kernel_log(void)
{
    return verdict("syslog", klogctl(10, NULL, 0));
}

static int ports(void)
{
#ifdef SYS_iopl
    return verdict("iopl", iopl(3));
#else
    return verdict_if(0, "this machine has no iopl");
#endif
}

static int port(void)
{
#ifdef SYS_ioperm
    return verdict("ioperm", ioperm(0x80, 1, 1));
#else
    return verdict_if(0, "this machine has no ioperm");
#endif
}

static int watch_file_system(void)
{
    return verdict("fanotify_init", fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, 0));
}

static int hang_up(void)
{
    /* As root it would hang up the terminal, and there is none in a session of one's own. */
    setsid();
    return verdict("vhangup", vhangup());
}

static int real_time_priority(void)
{
    struct sched_param first = {.sched_priority = 1};
    return verdict("sched_setscheduler(SCHED_FIFO)", sched_setscheduler(0, SCHED_FIFO, &first));
}

static int higher_priority(void)
{
    return verdict("setpriority(-20)", setpriority(PRIO_PROCESS, 0, -20));
}

static int lower_oom_score(void)
{
    int file = open("/proc/self/oom_score_adj", O_WRONLY);
    return verdict("write to oom_score_adj", write(file, "-1000", 5));
}

static int raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NICE, &limit) != 0)
        return 3;
    limit.rlim_max = limit.rlim_cur = 40;
    return verdict("setrlimit(RLIMIT_NICE)", setrlimit(RLIMIT_NICE, &limit));
}

static int disk_priority(void)
{
    /* IOPRIO_CLASS_RT of linux/ioprio.h. */
    return verdict("ioprio_set", syscall(SYS_ioprio_set, 1, 0, 1 << 13));
}

const struct probe MACHINE[] = {
    {"machine_kexec_load", load_kernel},
    {"machine_kexec_file_load", load_kernel_file},
    {"machine_init_module", load_module},
    {"machine_finit_module", load_module_file},
    {"machine_delete_module", remove_module},
    {"machine_reboot", restart},
    {"machine_swapon", swap_on},
    {"machine_swapoff", swap_off},
    {"machine_acct", accounting},
    {"machine_settimeofday", set_time},
    {"machine_adjtimex", adjust_time},
    {"machine_clock_adjtime", adjust_clock},
    {"machine_sethostname", set_host_name},
    {"machine_setdomainname", set_domain_name},
    {"machine_quotactl", quota},
    {"machine_syslog", kernel_log},
    {"machine_iopl", ports},
    {"machine_ioperm", port},
    {"machine_fanotify", watch_file_system},
    {"machine_vhangup", hang_up},
    {"machine_real_time_priority", real_time_priority},
    {"machine_higher_priority", higher_priority},
    {"machine_oom_score", lower_oom_score},
    {"machine_raise_limit", raise_limit},
    {"machine_disk_priority", disk_priority},
    {NULL, NULL},
};
