/* The network of the host, and sockets that reach into it. */

#define _GNU_SOURCE
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct sockaddr_in loopback(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)host_number(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int tcp_to_the_host(void)
{
    struct sockaddr_in address = loopback("HOST_TCP_PORT");
    return verdict("connect", connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&address, sizeof address));
}

static int tcp6_to_the_host(void)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)host_number("HOST_TCP6_PORT"))};
    address.sin6_addr = in6addr_loopback;
    return verdict("connect", connect(socket(AF_INET6, SOCK_STREAM, 0), (void *)&address, sizeof address));
}

static int udp_to_the_host(void)
{
    struct sockaddr_in address = loopback("HOST_UDP_PORT");
    struct timeval patience = {.tv_sec = 5};
    char answer[8];
    int sender = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(sender, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(sender, (void *)&address, sizeof address) != 0 || send(sender, "?", 1, 0) != 1)
        return verdict("send", -1);
    return verdict("recv", recv(sender, answer, sizeof answer, 0));
}

static int connect_unix(const char *name, int is_abstract)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    memcpy(address.sun_path + is_abstract, name, length);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    return connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&address, size);
}

static int unix_socket_by_path(void)
{
    return verdict("connect", connect_unix(host("HOST_SOCKET"), 0));
}

static int abstract_socket(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *name = host("HOST_ABSTRACT");
    size_t length = strlen(name);
    memcpy(address.sun_path + 1, name, length);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
    return verdict("connect", connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&address, size));
}

static int packet_socket(void)
{
    return verdict("socket(AF_PACKET)", socket(AF_PACKET, SOCK_RAW, 0));
}

static int raw_socket(void)
{
    return verdict("socket(SOCK_RAW)", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
}

static int vsock(void)
{
    return verdict("socket(AF_VSOCK)", socket(40, SOCK_STREAM, 0));
}

static int crypto_socket(void)
{
    return verdict("socket(AF_ALG)", socket(38, SOCK_SEQPACKET, 0));
}

static int key_socket(void)
{
    return verdict("socket(AF_KEY)", socket(15, SOCK_RAW, 2));
}

static int xdp_socket(void)
{
    return verdict("socket(AF_XDP)", socket(44, SOCK_RAW, 0));
}

static int netlink_netfilter(void)
{
    return verdict("socket(NETLINK_NETFILTER)", socket(AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER));
}

static int netlink_uevent(void)
{
    return verdict("socket(NETLINK_KOBJECT_UEVENT)", socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT));
}

static int netlink_generic(void)
{
    return verdict("socket(NETLINK_GENERIC)", socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC));
}

/* Its protocol is the kernel's table of every socket of a network namespace. */
static int socket_table(void)
{
    return verdict("socket(NETLINK_SOCK_DIAG)", socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG));
}

static int dccp_socket(void)
{
    return verdict("socket(IPPROTO_DCCP)", socket(AF_INET, SOCK_DCCP, IPPROTO_DCCP));
}

static int sctp_socket(void)
{
    return verdict("socket(IPPROTO_SCTP)", socket(AF_INET6, SOCK_STREAM, IPPROTO_SCTP));
}

static int udplite_socket(void)
{
    return verdict("socket(IPPROTO_UDPLITE)", socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE));
}

static int tipc_socket(void)
{
    return verdict("socket(AF_TIPC)", socket(AF_TIPC, SOCK_RDM, 0));
}

/* Asks for an address to be removed that nobody has: whoever may change the network is told so. */
static int route_change(void)
{
    struct {
        struct nlmsghdr header;
        struct ifaddrmsg message;
        struct rtattr attribute;
        struct in_addr address;
    } request = {
        .header = {.nlmsg_len = sizeof request, .nlmsg_type = RTM_DELADDR, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .message = {.ifa_family = AF_INET, .ifa_prefixlen = 32, .ifa_index = 1},
        .attribute = {.rta_len = RTA_LENGTH(sizeof(struct in_addr)), .rta_type = IFA_LOCAL},
    };
    request.address.s_addr = htonl(0x7F424242);
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
    } answer = {0};
    int link = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    if (send(link, &request, sizeof request, 0) < 0 || recv(link, &answer, sizeof answer, 0) < 0)
        return verdict("RTM_DELADDR", -1);
    errno = -answer.error.error;
    return verdict_on_permission("RTM_DELADDR", errno ? -1 : 0);
}

static int listeners_of_the_host(void)
{
    char line[256], wanted[16];
    snprintf(wanted, sizeof wanted, ":%04lX ", host_number("HOST_TCP_PORT"));
    FILE *table = fopen("/proc/net/tcp", "r");
    while (table != NULL && fgets(line, sizeof line, table) != NULL)
        if (strstr(line, wanted) != NULL)
            return verdict_if(1, "the host's listener is in /proc/net/tcp");
    return verdict_if(0, "/proc/net/tcp does not show the host's listener");
}

const struct probe NETWORK[] = {
    {"net_tcp_to_the_host", tcp_to_the_host},
    {"net_tcp6_to_the_host", tcp6_to_the_host},
    {"net_udp_to_the_host", udp_to_the_host},
    {"net_unix_socket_by_path", unix_socket_by_path},
    {"net_listeners_of_the_host", listeners_of_the_host},
    {"net_route_change", route_change},
    {"net_raw_socket", raw_socket},
    {"net_vsock", vsock},
    {"net_key_socket", key_socket},
    {"net_xdp_socket", xdp_socket},
    {"net_netlink_uevent", netlink_uevent},
    {"net_netlink_generic", netlink_generic},
    {"cve_2017_7184_crypto_socket", crypto_socket},
    {"cve_2020_14386_packet_socket", packet_socket},
    {"cve_2023_32233_netlink_netfilter", netlink_netfilter},
    {"cve_2024_27297_abstract_socket", abstract_socket},
    {"net_socket_table", socket_table},
    {"cve_2017_6074_dccp_socket", dccp_socket},
    {"net_sctp_socket", sctp_socket},
    {"net_udplite_socket", udplite_socket},
    {"cve_2021_43267_tipc_socket", tipc_socket},
    {NULL, NULL},
};
