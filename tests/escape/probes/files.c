/* Files of the host, devices, mounts, and what /proc shows. */

#define _GNU_SOURCE
#include "probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int read_secret(void)
{
    return verdict_if(holds_secret(host("HOST_SECRET")), host("HOST_SECRET"));
}

static int read_shadow(void)
{
    return verdict("open(/etc/shadow)", open("/etc/shadow", O_RDONLY));
}

static int list_home(void)
{
    return verdict_if(opendir("/home") != NULL || opendir("/root") != NULL, "opendir(/home, /root)");
}

static int another_slot(void)
{
    return verdict_if(opendir(host("HOST_OTHER_STAGE")) != NULL, "opendir of another slot's stage");
}

static int write_outside(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/escaped", host("HOST_DIRECTORY"));
    return verdict("open(O_CREAT)", open(path, O_WRONLY | O_CREAT, 0600));
}

static int write_below_the_sources(void)
{
    return verdict("open(O_CREAT)", open("../escaped", O_WRONLY | O_CREAT, 0600));
}

static int write_system(void)
{
    return verdict("open(/usr, O_TMPFILE)", open("/usr", O_TMPFILE | O_WRONLY, 0600));
}

static int write_devices(void)
{
    return verdict("open(/dev, O_TMPFILE)", open("/dev", O_TMPFILE | O_WRONLY, 0600));
}

static int many_devices(void)
{
    int count = 0;
    DIR *devices = opendir("/dev");
    struct stat status;
    for (struct dirent *entry; devices != NULL && (entry = readdir(devices)) != NULL;)
        if (fstatat(dirfd(devices), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0)
            count += S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode);
    return verdict_if(count > 3, "devices other than null, zero and urandom");
}

static int make_device(void)
{
    int result = mknod("device", S_IFCHR | 0600, makedev(1, 5));
    int error = errno;
    unlink("device");
    errno = error;
    return verdict("mknod", result);
}

/* With the mode that it has already. */
static int change_a_device(void)
{
    return verdict("chmod(/dev/null)", chmod("/dev/null", 0666));
}

static int change_stdin(void)
{
    return verdict("fchmod(stdin)", fchmod(0, 0666));
}

static int watch(void)
{
    return verdict("inotify_add_watch", inotify_add_watch(inotify_init(), host("HOST_DIRECTORY"), IN_CREATE));
}

/* A descriptor of any file of the file system opens every other by its handle, whatever is mounted: "shocker". */
static int open_by_handle(void)
{
    union {
        struct file_handle handle;
        char bytes[sizeof(struct file_handle) + MAX_HANDLE_SZ];
    } target = {0};
    const char *text = host("HOST_HANDLE");
    int at = 0;
    sscanf(text, "%d:%n", &target.handle.handle_type, &at);
    for (text += at; sscanf(text, "%2hhx", &target.handle.f_handle[target.handle.handle_bytes]) == 1; text += 2)
        target.handle.handle_bytes++;
    int file = open_by_handle_at(open(".", O_RDONLY), &target.handle, O_RDONLY);
    return verdict_on_permission("open_by_handle_at", file);
}

static int find_flag(const char *flag, const char *spared)
{
    char line[4096], *mount_point, *options;
    FILE *mounts = fopen("/proc/self/mountinfo", "r");
    while (mounts != NULL && fgets(line, sizeof line, mounts) != NULL) {
        if (sscanf(line, "%*s %*s %*s %*s %ms %ms", &mount_point, &options) == 2 && strstr(options, flag) == NULL &&
            strncmp(mount_point, spared, strlen(spared)) != 0) {
            printf("REACHED %s is mounted %s\n", mount_point, options);
            return 0;
        }
    }
    return verdict_if(0, flag);
}

static int set_user_id_has_effect(void)
{
    return find_flag("nosuid", "//");
}

static int devices_have_effect(void)
{
    return find_flag("nodev", "/dev/");
}

static int root_of_the_first_process(void)
{
    char path[4096];
    snprintf(path, sizeof path, "/proc/1/root%s", host("HOST_SECRET"));
    return verdict_if(holds_secret(path), path);
}

static int root_of_a_process(void)
{
    char path[4096];
    snprintf(path, sizeof path, "/proc/%ld/root%s", host_number("HOST_PID"), host("HOST_SECRET"));
    return verdict_if(holds_secret(path), path);
}

static int environment_of_a_process(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/environ", host_number("HOST_PID"));
    return verdict_if(holds_secret(path), path);
}

static int kernel_memory(void)
{
    char byte;
    int file = open("/proc/kcore", O_RDONLY);
    return verdict("read(/proc/kcore)", file < 0 ? -1 : read(file, &byte, 1));
}

static int core_pattern(void)
{
    return verdict("open(core_pattern, O_WRONLY)", open("/proc/sys/kernel/core_pattern", O_WRONLY));
}

static char writable[4096];

static int try_to_write(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)place;
    if (kind != FTW_F)
        return 0;
    int file = open(path, O_WRONLY | O_NONBLOCK);
    if (file < 0)
        return 0;
    close(file);
    snprintf(writable, sizeof writable, "%s", path);
    return 1;
}

static int writable_proc(void)
{
    static const char *const tops[] = {"sys", "irq", "bus", "fs", "pressure", "sysrq-trigger", "driver", "self/comm"};
    for (size_t number = 0; number < sizeof tops / sizeof *tops; number++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%s", tops[number]);
        if (nftw(path, try_to_write, 16, FTW_PHYS) == 1)
            return verdict_if(1, writable);
    }
    return verdict_if(0, "nothing of /proc can be written");
}

static int can_read(const char *path)
{
    char byte;
    int file = open(path, O_RDONLY);
    return verdict(path, file < 0 || read(file, &byte, 1) != 1 ? -1 : 0);
}

static int keys(void)
{
    return can_read("/proc/keys");
}

static int timers(void)
{
    return can_read("/proc/timer_list");
}

static int sysfs(void)
{
    return verdict_if(opendir("/sys/class") != NULL || opendir("/sys/kernel") != NULL, "opendir(/sys)");
}

static int control_groups(void)
{
    return verdict_if(opendir("/sys/fs/cgroup") != NULL, "opendir(/sys/fs/cgroup)");
}

static int leaked_descriptor(void)
{
    for (int number = 3; number < 1024; number++) {
        if (fcntl(number, F_GETFD) != -1)
            return verdict_if(1, "a descriptor beyond stdin, stdout and stderr is open");
    }
    return verdict_if(0, "only 0, 1 and 2 are open");
}

/* The parent is the sandbox's first process; without a sandbox it is the spawner. */
static int descriptors_of_the_first_process(void)
{
    char directory[64], target[4096];
    snprintf(directory, sizeof directory, "/proc/%d/fd", getppid());
    DIR *table = opendir(directory);
    for (struct dirent *entry; table != NULL && (entry = readdir(table)) != NULL;) {
        ssize_t length = readlinkat(dirfd(table), entry->d_name, target, sizeof target - 1);
        target[length > 0 ? length : 0] = 0;
        if (length > 0 && strcmp(target, "/dev/null") != 0 && strncmp(target, "pipe:", 5) != 0 &&
            strcmp(target, "anon_inode:[eventfd]") != 0)
            return verdict_if(1, target);
    }
    return verdict_if(0, table == NULL ? "the table cannot be listed" : "nothing but pipes and /dev/null");
}

static int program_of_the_first_process(void)
{
    char path[64];
    struct stat status;
    snprintf(path, sizeof path, "/proc/%d/exe", getppid());
    if (stat(path, &status) != 0)
        return verdict("stat(exe)", -1);
    return verdict("chmod(exe)", chmod(path, status.st_mode & 07777));
}

const struct probe FILES[] = {
    {"fs_read_a_secret", read_secret},
    {"fs_read_shadow", read_shadow},
    {"fs_list_homes", list_home},
    {"fs_list_another_slot", another_slot},
    {"fs_write_outside", write_outside},
    {"fs_write_below_the_sources", write_below_the_sources},
    {"fs_write_to_usr", write_system},
    {"fs_write_to_dev", write_devices},
    {"fs_see_devices", many_devices},
    {"fs_mknod", make_device},
    {"fs_change_a_device", change_a_device},
    {"fs_change_stdin", change_stdin},
    {"fs_watch_a_directory", watch},
    {"fs_open_by_handle", open_by_handle},
    {"fs_set_user_id_has_effect", set_user_id_has_effect},
    {"fs_devices_have_effect", devices_have_effect},
    {"proc_root_of_the_first_process", root_of_the_first_process},
    {"proc_root_of_a_process", root_of_a_process},
    {"proc_environment_of_a_process", environment_of_a_process},
    {"proc_kcore", kernel_memory},
    {"proc_core_pattern", core_pattern},
    {"proc_writable_file", writable_proc},
    {"proc_keys", keys},
    {"proc_timer_list", timers},
    {"sys_is_visible", sysfs},
    {"sys_control_groups", control_groups},
    {"cve_2024_21626_leaked_descriptor", leaked_descriptor},
    {"cve_2024_21626_first_process", descriptors_of_the_first_process},
    {"cve_2019_5736_program_of_the_first_process", program_of_the_first_process},
    {NULL, NULL},
};
