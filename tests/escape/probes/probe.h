/* An escape is one function. It returns what verdict() or one of its relatives says of the decisive call. */

#ifndef PROBE_H
#define PROBE_H

#include <stddef.h>

struct probe {
    const char *name;
    int (*run)(void);
};

extern const struct probe NETWORK[], FILES[], STORE[], KERNEL[], MACHINE[], PROCESSES[], CONFINEMENT[];

/* Reached if result is not -1; else denied with errno. Prints the one line that the test reads. */
int verdict(const char *call, long result);

/* For calls that check who may before they look at what: reached also if they failed for what was asked. */
int verdict_on_permission(const char *call, long result);

/* Reached if is_reached is not 0; else denied with that explanation. */
int verdict_if(int is_reached, const char *explanation);

/* The value that the test has put into the action's environment. Ends the probe if there is none. */
const char *host(const char *name);
long host_number(const char *name);

/* Whether the file can be read and holds what only the host knows. errno is that of the last failure. */
int holds_secret(const char *path);

#endif
