/* probes NAME tries one way out of the sandbox and prints "REACHED ..." or "DENIED ...". probes list prints the names.
   probes canary MARK waits to be attacked: it prints the address of its secret. */

#define _GNU_SOURCE
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static char secret[64];

int verdict_if(int is_reached, const char *explanation)
{
    printf("%s %s\n", is_reached ? "REACHED" : "DENIED", explanation);
    return 0;
}

int verdict(const char *call, long result)
{
    int error = errno;
    printf("%s %s: %s\n", result != -1 ? "REACHED" : "DENIED", call, result != -1 ? "done" : strerrorname_np(error));
    return 0;
}

int verdict_on_permission(const char *call, long result)
{
    int error = errno;
    int is_refused = result == -1 && (error == EPERM || error == EACCES || error == ENOSYS);
    printf("%s %s: %s\n", is_refused ? "DENIED" : "REACHED", call, result != -1 ? "done" : strerrorname_np(error));
    return 0;
}

const char *host(const char *name)
{
    const char *value = getenv(name);
    if (value == NULL) {
        fprintf(stderr, "%s is not in the environment\n", name);
        exit(3);
    }
    return value;
}

long host_number(const char *name)
{
    return strtol(host(name), NULL, 0);
}

int holds_secret(const char *path)
{
    char data[4096];
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    ssize_t count = read(file, data, sizeof data);
    close(file);
    if (count <= 0)
        return 0;
    const char *wanted = host("HOST_TOKEN");
    return memmem(data, (size_t)count, wanted, strlen(wanted)) != NULL;
}

static void canary(void)
{
    snprintf(secret, sizeof secret, "%s", host("HOST_TOKEN"));
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    printf("%p\n", (void *)secret);
    fflush(stdout);
    for (;;)
        pause();
}

int main(int count, char **words)
{
    static const struct probe *const all[] = {NETWORK, FILES, STORE, KERNEL, MACHINE, PROCESSES, CONFINEMENT};
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (count == 3 && strcmp(words[1], "canary") == 0)
        canary();
    for (size_t group = 0; group < sizeof all / sizeof *all; group++) {
        for (const struct probe *each = all[group]; each->name != NULL; each++) {
            if (count == 2 && strcmp(words[1], "list") == 0)
                puts(each->name);
            else if (count == 2 && strcmp(words[1], each->name) == 0)
                return each->run();
        }
    }
    return count == 2 && strcmp(words[1], "list") == 0 ? 0 : 2;
}
