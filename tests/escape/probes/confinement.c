/* What the process itself is: its namespaces, capabilities, session, and what holds for its children. */

#define _GNU_SOURCE
#include "probe.h"

#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* HOST_NAMESPACES lists the host's as readlink(/proc/self/ns/...) gives them: uts:[4026531838] and so on. */
static int is_in_the_hosts(const char *kind)
{
    char path[64], name[64] = "";
    snprintf(path, sizeof path, "/proc/self/ns/%s", kind);
    if (readlink(path, name, sizeof name - 1) < 0)
        return verdict(path, -1);
    return verdict_if(strstr(host("HOST_NAMESPACES"), name) != NULL, name);
}

static int in_user_namespace(void)
{
    return is_in_the_hosts("user");
}

static int in_mount_namespace(void)
{
    return is_in_the_hosts("mnt");
}

static int in_process_namespace(void)
{
    return is_in_the_hosts("pid");
}

static int in_network_namespace(void)
{
    return is_in_the_hosts("net");
}

static int in_ipc_namespace(void)
{
    return is_in_the_hosts("ipc");
}

static int in_uts_namespace(void)
{
    return is_in_the_hosts("uts");
}

static int in_cgroup_namespace(void)
{
    return is_in_the_hosts("cgroup");
}

static int has_capability(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {0};
    if (syscall(SYS_capget, &header, sets) != 0)
        return verdict("capget", -1);
    unsigned held = sets[0].effective | sets[1].effective | sets[0].permitted | sets[1].permitted;
    return verdict_if((held | sets[0].inheritable | sets[1].inheritable) != 0, "effective, permitted or inheritable");
}

static int has_bounding_set(void)
{
    for (int number = 0; number < 64; number++) {
        if (prctl(PR_CAPBSET_READ, number) == 1)
            return verdict_if(1, "the bounding set");
    }
    return verdict_if(0, "the bounding set is empty");
}

static int may_gain_privileges(void)
{
    return verdict_if(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0, "no_new_privs");
}

static int has_no_filter(void)
{
    return verdict_if(prctl(PR_GET_SECCOMP) == 0, "the system call filter");
}

static int is_in_the_workers_session(void)
{
    pid_t session = getsid(0);
    return verdict_if(session == 0 || session == host_number("HOST_SESSION"), "the session");
}

static int outlives_its_parent(void)
{
    /* Whoever is not below an init of its own is inherited by the host's. */
    return verdict_if(getppid() != 1, "the parent is not the sandbox's own init");
}

const struct probe CONFINEMENT[] = {
    {"ns_user_of_the_host", in_user_namespace},
    {"ns_mount_of_the_host", in_mount_namespace},
    {"ns_process_of_the_host", in_process_namespace},
    {"ns_network_of_the_host", in_network_namespace},
    {"ns_ipc_of_the_host", in_ipc_namespace},
    {"ns_uts_of_the_host", in_uts_namespace},
    {"ns_cgroup_of_the_host", in_cgroup_namespace},
    {"cap_held", has_capability},
    {"cap_bounding_set", has_bounding_set},
    {"cap_may_gain_privileges", may_gain_privileges},
    {"seccomp_has_no_filter", has_no_filter},
    {"cve_2017_5226_session_of_the_worker", is_in_the_workers_session},
    {"survival_outlives_its_init", outlives_its_parent},
    {NULL, NULL},
};
