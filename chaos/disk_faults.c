/* Loaded into a daemon with LD_PRELOAD, it makes files of one directory fail like a bad disk.
 *
 * CHAOS_DISK_FAULTS names a control file. While that exists it holds "ERRNO PERCENT DIRECTORY": so many percent of
 * the writes to, and reads from, regular files below DIRECTORY fail with that errno. ERRNO 0 stands for a torn write:
 * half of the bytes are written, then the process is killed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

/* The errno to fail with, -1 to tear, or 0 to leave the call alone. */
static int verdict(int fd, int is_write) {
  const char *control = getenv("CHAOS_DISK_FAULTS");
  if (control == NULL) return 0;
  int file = (int)syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  char text[PATH_MAX + 64];
  ssize_t length = syscall(SYS_read, file, text, sizeof text - 1);
  syscall(SYS_close, file);
  if (length <= 0) return 0;
  text[length] = '\0';
  int number, percent, skipped;
  if (sscanf(text, "%d %d %n", &number, &percent, &skipped) != 2) return 0;
  char name[64], path[PATH_MAX + 1];
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  length = readlink(name, path, PATH_MAX);
  if (length <= 0) return 0;
  path[length] = '\0';
  text[strcspn(text, "\n")] = '\0';
  const char *directory = text + skipped;
  if (strncmp(path, directory, strlen(directory)) != 0) return 0;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  if ((now.tv_nsec / 1000) % 100 >= percent) return 0;
  if (number == 0) return is_write ? -1 : 0;
  return number;
}

#define REAL(name) \
  static __typeof__(name) *real; \
  if (real == NULL) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define FAIL_IF(is_write, tear) \
  do { \
    int number = verdict(fd, is_write); \
    if (number > 0) { errno = number; return -1; } \
    if (number < 0) { tear; kill(getpid(), SIGKILL); } \
  } while (0)

ssize_t write(int fd, const void *data, size_t count) {
  REAL(write);
  FAIL_IF(1, real(fd, data, count / 2));
  return real(fd, data, count);
}

ssize_t pwrite64(int fd, const void *data, size_t count, off64_t offset) {
  REAL(pwrite64);
  FAIL_IF(1, real(fd, data, count / 2, offset));
  return real(fd, data, count, offset);
}

ssize_t read(int fd, void *data, size_t count) {
  REAL(read);
  FAIL_IF(0, (void)0);
  return real(fd, data, count);
}

ssize_t pread64(int fd, void *data, size_t count, off64_t offset) {
  REAL(pread64);
  FAIL_IF(0, (void)0);
  return real(fd, data, count, offset);
}
