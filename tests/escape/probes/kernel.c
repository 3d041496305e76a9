/* Parts of the kernel that have been ways out: namespaces, mounts, keys, bpf, io_uring, other calling conventions. */

#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/mount.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int unshare_user(void)
{
    return verdict("unshare(CLONE_NEWUSER)", unshare(CLONE_NEWUSER));
}

static int unshare_cgroup(void)
{
    return verdict("unshare(CLONE_NEWUSER | CLONE_NEWCGROUP)", unshare(CLONE_NEWUSER | CLONE_NEWCGROUP));
}

static int unshare_time(void)
{
    return verdict("unshare(CLONE_NEWUSER | CLONE_NEWTIME)", unshare(CLONE_NEWUSER | 0x80));
}

static int unshare_network(void)
{
    return verdict("unshare(CLONE_NEWUSER | CLONE_NEWNET)", unshare(CLONE_NEWUSER | CLONE_NEWNET));
}

static int clone_user(void)
{
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, 0);
    if (pid == 0)
        _exit(0);
    return verdict("clone(CLONE_NEWUSER)", pid);
}

static int clone3_user(void)
{
    struct clone_args arguments = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid == 0)
        _exit(0);
    return verdict("clone3(CLONE_NEWUSER)", pid);
}

static int enter_namespace(void)
{
    return verdict("setns", setns(open("/proc/self/ns/uts", O_RDONLY), 0));
}

static int old_mount(void)
{
    return verdict_on_permission("mount", mount("none", ".", "zbuild-no-such-type", 0, NULL));
}

static int remount(void)
{
    return verdict_on_permission("mount(MS_REMOUNT)", mount("none", ".", NULL, MS_REMOUNT | MS_BIND, NULL));
}

static int unmount(void)
{
    return verdict_on_permission("umount2", umount2(".", 0));
}

static int change_root(void)
{
    return verdict("chroot", chroot("."));
}

static int pivot(void)
{
    return verdict_on_permission("pivot_root", syscall(SYS_pivot_root, ".", "."));
}

static int open_file_system(void)
{
    return verdict_on_permission("fsopen", syscall(SYS_fsopen, "zbuild-no-such-type", 0));
}

static int configure_file_system(void)
{
    return verdict_on_permission("fsconfig", syscall(SYS_fsconfig, -1, FSCONFIG_SET_STRING, "a", "b", 0));
}

static int pick_file_system(void)
{
    return verdict_on_permission("fspick", syscall(SYS_fspick, AT_FDCWD, ".", 0));
}

static int open_mount_tree(void)
{
    return verdict("open_tree(OPEN_TREE_CLONE)", syscall(SYS_open_tree, AT_FDCWD, ".", OPEN_TREE_CLONE));
}

static int move_mount_tree(void)
{
    return verdict_on_permission("move_mount", syscall(SYS_move_mount, -1, "", AT_FDCWD, ".", MOVE_MOUNT_F_EMPTY_PATH));
}

static int set_mount_attributes(void)
{
    struct mount_attr nothing = {0};
    return verdict("mount_setattr", syscall(SYS_mount_setattr, AT_FDCWD, ".", 0, &nothing, sizeof nothing));
}

static int add_a_key(void)
{
    return verdict("add_key", syscall(SYS_add_key, "user", "zbuild-probe", "1", 1, KEY_SPEC_PROCESS_KEYRING));
}

static int request_a_key(void)
{
    return verdict_on_permission("request_key", syscall(SYS_request_key, "user", "zbuild-no-such-key", NULL, 0));
}

static int join_a_keyring(void)
{
    return verdict("keyctl(KEYCTL_JOIN_SESSION_KEYRING)", syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL));
}

static int bpf_map(void)
{
    union bpf_attr attributes = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
    return verdict("bpf(BPF_MAP_CREATE)", syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes));
}

static int performance_counter(void)
{
    struct perf_event_attr event = {
        .type = PERF_TYPE_SOFTWARE, .size = sizeof event, .config = PERF_COUNT_SW_TASK_CLOCK, .exclude_kernel = 1};
    return verdict("perf_event_open", syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
}

static int user_faults(void)
{
    return verdict("userfaultfd", syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY));
}

static int ring_setup(void)
{
    struct io_uring_params parameters = {0};
    return verdict("io_uring_setup", syscall(SYS_io_uring_setup, 4, &parameters));
}

static int ring_enter(void)
{
    return verdict_on_permission("io_uring_enter", syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0));
}

static int ring_register(void)
{
    return verdict_on_permission("io_uring_register", syscall(SYS_io_uring_register, -1, 0, NULL, 0));
}

static int secret_memory(void)
{
    return verdict("memfd_secret", syscall(SYS_memfd_secret, 0));
}

static int read_implies_exec(void)
{
    return verdict("personality(READ_IMPLIES_EXEC)", syscall(SYS_personality, 0x0400000));
}

static int map_page_zero(void)
{
    return verdict("personality(MMAP_PAGE_ZERO)", syscall(SYS_personality, 0x0100000));
}

/* Whether a terminal's ioctl gets as far as /dev/null's driver, which has no such request. */
static int reaches_the_driver(const char *name, unsigned long request)
{
    long result = syscall(SYS_ioctl, 0, request, "x");
    return verdict_if(result == 0 || errno == ENOTTY, name);
}

static int push_terminal_input(void)
{
    return reaches_the_driver("ioctl(TIOCSTI)", TIOCSTI);
}

static int push_terminal_input_high_bits(void)
{
    return reaches_the_driver("ioctl(TIOCSTI | 1 << 32)", TIOCSTI | 1UL << 32);
}

static int console_selection(void)
{
    return reaches_the_driver("ioctl(TIOCLINUX)", TIOCLINUX);
}

static int console_selection_high_bits(void)
{
    return reaches_the_driver("ioctl(TIOCLINUX | 1 << 63)", TIOCLINUX | 1UL << 63);
}

static int i386_calls(void)
{
#ifdef __x86_64__
    long result = 20; /* getpid */
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "cc", "r8", "r9", "r10", "r11");
    return verdict_if(result == getpid(), "int $0x80");
#else
    return verdict_if(0, "this machine has no int $0x80");
#endif
}

static int x32_calls(void)
{
    return verdict("getpid as x32", syscall(0x40000000 | 39));
}

static int local_descriptors(void)
{
#ifdef SYS_modify_ldt
    char table[16];
    return verdict("modify_ldt", syscall(SYS_modify_ldt, 0, table, sizeof table));
#else
    return verdict_if(0, "this machine has no modify_ldt");
#endif
}

const struct probe KERNEL[] = {
    {"ns_unshare_user", unshare_user},
    {"ns_unshare_network", unshare_network},
    {"ns_unshare_time", unshare_time},
    {"ns_clone_user", clone_user},
    {"ns_clone3_user", clone3_user},
    {"ns_setns", enter_namespace},
    {"cve_2022_0492_cgroup_namespace", unshare_cgroup},
    {"mount_old", old_mount},
    {"mount_remount", remount},
    {"mount_unmount", unmount},
    {"mount_chroot", change_root},
    {"mount_pivot_root", pivot},
    {"cve_2021_41133_fsopen", open_file_system},
    {"cve_2022_0185_fsconfig", configure_file_system},
    {"cve_2021_41133_fspick", pick_file_system},
    {"cve_2021_41133_open_tree", open_mount_tree},
    {"cve_2021_41133_move_mount", move_mount_tree},
    {"cve_2021_41133_mount_setattr", set_mount_attributes},
    {"key_add", add_a_key},
    {"key_request", request_a_key},
    {"cve_2016_0728_join_keyring", join_a_keyring},
    {"cve_2020_8835_bpf", bpf_map},
    {"cve_2013_2094_perf_event_open", performance_counter},
    {"kernel_userfaultfd", user_faults},
    {"cve_2023_2598_io_uring_setup", ring_setup},
    {"kernel_io_uring_enter", ring_enter},
    {"kernel_io_uring_register", ring_register},
    {"kernel_memfd_secret", secret_memory},
    {"kernel_personality_exec", read_implies_exec},
    {"kernel_personality_page_zero", map_page_zero},
    {"cve_2017_5226_tiocsti", push_terminal_input},
    {"cve_2019_10063_tiocsti_high_bits", push_terminal_input_high_bits},
    {"cve_2023_28100_tioclinux", console_selection},
    {"cve_2023_28100_tioclinux_high_bits", console_selection_high_bits},
    {"abi_i386", i386_calls},
    {"abi_x32", x32_calls},
    {"kernel_modify_ldt", local_descriptors},
    {NULL, NULL},
};
