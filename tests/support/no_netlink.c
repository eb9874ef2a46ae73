/* Preloaded into Chromium, lest it learn of the machine's network interfaces.
 *
 * It drops whatever it loads, from the loopback too, each time one comes or goes (net::ERR_NETWORK_CHANGED), and tests
 * beside it start containers all the time. Without a netlink socket it takes the network for one that never changes.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>

int bind(int descriptor, const struct sockaddr *address, socklen_t length)
{
    if (address != NULL && address->sa_family == AF_NETLINK) {
        errno = EPERM;
        return -1;
    }
    int (*next)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
    return next(descriptor, address, length);
}
