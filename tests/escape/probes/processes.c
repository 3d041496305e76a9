/* Processes outside, their memory, and what System V and POSIX let processes share by name. */

#define _GNU_SOURCE
#include "probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pid_t victim(void)
{
    return (pid_t)host_number("HOST_PID");
}

static int signal_it(void)
{
    return verdict("kill", kill(victim(), 0));
}

static int signal_it_as_owner(void)
{
    return verdict("fcntl(F_SETOWN)", fcntl(STDIN_FILENO, F_SETOWN, victim()));
}

static int limit_it(void)
{
    struct rlimit limit;
    return verdict("prlimit", prlimit(victim(), RLIMIT_CORE, NULL, &limit));
}

static int pin_it(void)
{
    cpu_set_t processors;
    if (sched_getaffinity(0, sizeof processors, &processors) != 0)
        return 3;
    return verdict("sched_setaffinity", sched_setaffinity(victim(), sizeof processors, &processors));
}

static int slow_it(void)
{
    return verdict("setpriority", setpriority(PRIO_PROCESS, (id_t)victim(), 1));
}

static int see_it(void)
{
    char path[300], words[512], wanted[64];
    /* bubblewrap's own command line has this action's environment, and so the mark, but not the whole word. */
    snprintf(wanted, sizeof wanted, "canary-%s", host("HOST_MARK"));
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; processes != NULL && (entry = readdir(processes)) != NULL;) {
        snprintf(path, sizeof path, "/proc/%s/cmdline", entry->d_name);
        int file = open(path, O_RDONLY);
        ssize_t count = file < 0 ? 0 : read(file, words, sizeof words);
        close(file);
        if (count > 0 && memmem(words, (size_t)count, wanted, strlen(wanted)) != NULL)
            return verdict_if(1, path);
    }
    return verdict_if(0, "no process has the mark on its command line");
}

static int trace_it(void)
{
    return verdict("ptrace(PTRACE_SEIZE)", ptrace(PTRACE_SEIZE, victim(), NULL, NULL));
}

static int trace_the_first_process(void)
{
    return verdict("ptrace(PTRACE_SEIZE, parent)", ptrace(PTRACE_SEIZE, getppid(), NULL, NULL));
}

static int read_its_memory(void)
{
    char data[64] = "";
    struct iovec here = {data, sizeof data}, there = {(void *)host_number("HOST_ADDRESS"), sizeof data};
    if (process_vm_readv(victim(), &here, 1, &there, 1, 0) == -1)
        return verdict("process_vm_readv", -1);
    return verdict_if(strcmp(data, host("HOST_TOKEN")) == 0, "process_vm_readv");
}

static int write_its_memory(void)
{
    char data[64] = "";
    snprintf(data, sizeof data, "%s", host("HOST_TOKEN"));
    struct iovec here = {data, sizeof data}, there = {(void *)host_number("HOST_ADDRESS"), sizeof data};
    return verdict("process_vm_writev", process_vm_writev(victim(), &here, 1, &there, 1, 0));
}

static int read_its_memory_file(void)
{
    char path[64], data[64] = "";
    snprintf(path, sizeof path, "/proc/%d/mem", victim());
    int memory = open(path, O_RDONLY);
    if (memory < 0 || pread(memory, data, sizeof data, host_number("HOST_ADDRESS")) < 0)
        return verdict("pread(mem)", -1);
    return verdict_if(strcmp(data, host("HOST_TOKEN")) == 0, "pread(mem)");
}

static int open_it(void)
{
    return verdict("pidfd_open", syscall(SYS_pidfd_open, victim(), 0));
}

static int take_its_descriptor(void)
{
    long process = syscall(SYS_pidfd_open, getpid(), 0);
    return verdict("pidfd_getfd", syscall(SYS_pidfd_getfd, process, 0, 0));
}

static int compare_processes(void)
{
    return verdict("kcmp", syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, 0, 1));
}

static int move_its_pages(void)
{
    int status = 0;
    void *page = &status;
    return verdict("move_pages", syscall(SYS_move_pages, 0, 1UL, &page, NULL, &status, 0));
}

static int shared_memory(void)
{
    int segment = shmget((key_t)host_number("HOST_KEY"), 0, 0);
    const char *data = segment == -1 ? (void *)-1 : shmat(segment, NULL, SHM_RDONLY);
    if (data == (void *)-1)
        return verdict("shmat", -1);
    return verdict_if(strcmp(data, host("HOST_TOKEN")) == 0, "shmat");
}

static int semaphores(void)
{
    return verdict("semget", semget((key_t)host_number("HOST_KEY"), 0, 0));
}

static int messages(void)
{
    return verdict("msgget", msgget((key_t)host_number("HOST_KEY"), 0));
}

static int posix_messages(void)
{
    return verdict("mq_open", mq_open(host("HOST_QUEUE"), O_RDONLY));
}

const struct probe PROCESSES[] = {
    {"process_signal", signal_it},
    {"process_signal_as_owner", signal_it_as_owner},
    {"process_limits", limit_it},
    {"process_affinity", pin_it},
    {"process_priority", slow_it},
    {"process_see", see_it},
    {"process_ptrace", trace_it},
    {"process_ptrace_the_first_process", trace_the_first_process},
    {"process_vm_readv", read_its_memory},
    {"process_vm_writev", write_its_memory},
    {"process_memory_file", read_its_memory_file},
    {"process_pidfd_open", open_it},
    {"process_pidfd_getfd", take_its_descriptor},
    {"process_kcmp", compare_processes},
    {"process_move_pages", move_its_pages},
    {"ipc_shared_memory", shared_memory},
    {"ipc_semaphores", semaphores},
    {"ipc_messages", messages},
    {"ipc_posix_messages", posix_messages},
    {NULL, NULL},
};
