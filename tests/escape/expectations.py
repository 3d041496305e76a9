"""What each probe can reach without a sandbox: everything, but for what is named here with its reason."""

from __future__ import annotations

import os

import prctl

_CAPABILITIES = {
    "dac_override": """
        fs_read_shadow fs_write_to_usr fs_write_to_dev proc_core_pattern proc_timer_list
        cve_2019_5736_program_of_the_first_process
    """,
    "dac_read_search": "fs_open_by_handle",
    "mknod": "fs_mknod",
    "net_admin": "net_route_change net_key_socket",
    "net_raw": "net_raw_socket cve_2020_14386_packet_socket net_xdp_socket",
    "setpcap": "cap_held",
    "sys_admin": """
        ns_setns mount_old mount_remount mount_unmount mount_pivot_root cve_2021_41133_fsopen
        cve_2021_41133_fspick cve_2021_41133_open_tree cve_2021_41133_move_mount cve_2021_41133_mount_setattr
        machine_swapon machine_swapoff machine_sethostname machine_setdomainname
    """,
    "sys_boot": "machine_kexec_load machine_kexec_file_load machine_reboot",
    "sys_chroot": "mount_chroot",
    "sys_module": "machine_init_module machine_finit_module machine_delete_module",
    "sys_nice": "machine_real_time_priority machine_higher_priority machine_disk_priority",
    "sys_pacct": "machine_acct",
    "sys_resource": "machine_oom_score machine_raise_limit",
    "sys_rawio": "proc_kcore machine_iopl machine_ioperm",
    "sys_time": "machine_settimeofday machine_adjtimex",
    "sys_tty_config": "machine_vhangup",
}

CAPABILITY = {name: capability for capability, names in _CAPABILITIES.items() for name in names.split()}
"""Probes that take a capability, in root's hands as a rule: an ordinary user has none to lose."""

_CONFIGURED = {
    "IPv6 may be off": "net_tcp6_to_the_host",
    "the protocol may be a module that is not there": """
        net_vsock net_key_socket net_xdp_socket net_netlink_uevent net_netlink_generic cve_2017_7184_crypto_socket
        cve_2020_14386_packet_socket cve_2023_32233_netlink_netfilter net_socket_table cve_2017_6074_dccp_socket
        net_sctp_socket net_udplite_socket cve_2021_43267_tipc_socket
    """,
    "the kernel may be built without it": """
        abi_i386 cve_2020_8835_bpf cve_2023_2598_io_uring_setup ipc_posix_messages kernel_io_uring_enter
        kernel_io_uring_register kernel_memfd_secret kernel_modify_ldt kernel_userfaultfd machine_acct
        machine_delete_module machine_fanotify machine_finit_module machine_init_module machine_iopl machine_ioperm
        machine_kexec_file_load machine_kexec_load machine_quotactl machine_swapoff machine_swapon proc_kcore proc_keys
        proc_timer_list process_kcmp process_move_pages cve_2013_2094_perf_event_open ns_unshare_time blob_fchmodat2
    """,
    "a sysctl may forbid it to ordinary users, or to all": """
        cve_2013_2094_perf_event_open cve_2020_8835_bpf cve_2023_2598_io_uring_setup machine_syslog kernel_userfaultfd
        process_ptrace_the_first_process
    """,
    "the file system may not have it": """
        blob_set_flags blob_setxattr blob_punch_a_hole blob_clone_into blob_exchange fs_open_by_handle fs_write_to_usr
        machine_fanotify
    """,
    "the host's first process may have another root": "proc_root_of_the_first_process",
    "control groups may not be mounted": "sys_control_groups",
}

CONFIGURED = {name: reason for reason, names in _CONFIGURED.items() for name in names.split()}
"""Probes for something that this machine need not have."""

NEVER = {
    "fs_change_a_device": "at every level root's spawner has read-only mounts over what its commands get hold of",
    "fs_change_stdin": "at every level root's spawner has read-only mounts over what its commands get hold of",
    "cve_2016_5195_dirty_cow": "mended in Linux 4.9",
    "cve_2022_0847_dirty_pipe": "mended in Linux 5.17",
    "abi_x32": "distributions build their kernels without x32; the unit tests of the filter judge its numbers",
    "cve_2024_21626_leaked_descriptor": "the spawner leaves none open at any level; DEMONSTRATED opens one",
}
"""Probes that find nothing without a sandbox either."""

DEMONSTRATED = {"cve_2024_21626_leaked_descriptor": "exec 9</"}
"""Shell commands that open what the probe looks for."""


def can_reach(name: str) -> bool | None:
    """Whether this process, with the capabilities it has, gets through where there is no sandbox; None: who knows."""
    if name in CONFIGURED:
        return None
    if name in NEVER:
        return False
    return name not in CAPABILITY or holds(CAPABILITY[name])


def holds(capability: str) -> bool:
    """Whether this process has the capability, by its name without CAP_."""
    return os.geteuid() == 0 and bool(getattr(prctl.cap_effective, capability))
