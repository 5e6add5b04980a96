"""The corpus as data: every behaviour, how it ends at each level, and up to which level it harms.

`outcomes` are what the host decides: `allow` and other answers, a fault of isolation.md section 6, `ready` for a
release that loads, or `gone` when there is no host any more; `|` stands between two of which either may come. `harms`
names the witness that sees the harm, for each level at which there is one. `docs/explanation/isolation.md` sums it up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

LEVELS: Final = 5
Group = Literal[
    "secrets", "tampering", "network", "kernel", "exhaustion", "crash", "wire", "capabilities", "values", "boot"
]
Hang: Final = 1.2
"""Seconds that a hanging behaviour lasts where nothing ends it."""
DEADLINE_S: Final = 0.4
"""Of the calls that hang."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """One thing that a plugin tries."""

    name: str
    mode: str
    group: Group
    outcomes: tuple[str, ...]
    """By level, L0 first."""
    harms: tuple[str, ...]
    """By level: the witness that sees harm, or nothing."""
    hook: str = "check_payment"
    steps: int = 1
    """Calls of one worker, the last of which counts."""
    deadline_s: float = 30.0
    seconds: float = Hang
    is_late: bool = False
    """It keeps its process busy past the deadline: somebody else's answer must come first."""
    is_for_another: bool = False
    """The second call is another merchant's."""
    lingers: bool = False
    """What it does after the answer counts."""
    rests: bool = False
    """It is called again only once its worker was stopped; one that is called within the millisecond is not."""
    leaves: bool = False
    """The host is asked to leave in the end."""
    boots: int = 0
    """Number of the release that does it while it is imported; 0: it is done in a call."""
    calls_after: bool = False
    """Once it is loaded it is called."""

    @property
    def version(self) -> str:
        """The release that has it."""
        return f"1.0.{self.boots}"


@dataclass(slots=True)
class _Table:
    behaviours: list[Behaviour] = field(default_factory=list)
    boots: int = 0

    def add(
        self,
        group: Group,
        names: str,
        outcome: str = "allow",
        *,
        up_to: int = -1,
        harm: str = "",
        l0: str = "",
        l1: str = "",
        l2: str = "",
        harms: dict[int, str] | None = None,
        mode: str = "",
        **more: object,
    ) -> None:
        """Behaviours that end alike: `outcome` at every level but where another is given for that level alone.

        They harm at the levels up to `up_to`, seen by the witness `harm`, or as `harms` says.
        """
        ends = (l0 or outcome, l1 or outcome, l2 or outcome, outcome, outcome)
        seen = harms or dict.fromkeys(range(up_to + 1), harm)
        for name in names.split():
            if group == "boot":
                self.boots += 1
                more["boots"] = self.boots
            self.behaviours.append(
                Behaviour(
                    name=name,
                    mode=mode or name,
                    group=group,
                    outcomes=ends,
                    harms=tuple(seen.get(level, "") for level in range(LEVELS)),
                    **more,  # type: ignore[arg-type]  # fields of Behaviour, by name
                )
            )


_table = _Table()
_add = _table.add

# Secrets and reads: at L0 and L1 nearly everything lies open, at L2 only whether a file exists.
_add("secrets", "read_passwd read_db read_key read_dotdot read_mapped", up_to=1, harm="secret")
_add("secrets", "openat_from_own_folder openat2 open_by_path_descriptor", up_to=1, harm="secret")
_add("secrets", "open_by_handle", "forbidden_call", l0="allow", l1="allow", up_to=1, harm="secret")
_add("secrets", "env frames fds", up_to=0, harm="secret")
_add("secrets", "working_directory proc_environ proc_root proc_cmdline proc_mem", up_to=1, harm="secret")
_add("secrets", "sibling_mem", harms={1: "secret"})
_add("secrets", "own_mem", up_to=0, harm="secret")
_add("secrets", "process_vm_readv pidfd_getfd", "forbidden_call", l0="allow", l1="allow", up_to=1, harm="secret")
_add("secrets", "ptrace", "forbidden_call", l0="allow", l1="allow", harms={1: "traced"})
_add("secrets", "stat_probe", up_to=2, harm="secret")
_add("secrets", "hostname list_folder list_root dev_shm sysv_shm", up_to=1, harm="secret")
_add("secrets", "crosstenant", steps=2, is_for_another=True, up_to=0, harm="secret")
_add("secrets", "crosstenant_file", steps=2, is_for_another=True, up_to=1, harm="secret")

# Tampering.
_add("tampering", "mutate_args monkeypatch monkeypatch_results monkeypatch_pluggy", up_to=0, harm="neighbour")
_add("tampering", "monkeypatch_json", up_to=0, harm="host", l0="gone")
_add("tampering", "replace_modules")
_add("tampering", "write_outside write_self truncate_db truncate_by_reading", up_to=1, harm="file")
_add("tampering", "append_to_db", up_to=0, harm="file")
_add("tampering", "create_by_reading chmod_db chown_db utime_db unlink_db rename_db", up_to=1, harm="file")
_add("tampering", "symlink hardlink make_fifo make_folder", up_to=1, harm="file")
_add("tampering", "oom_score renice_host limit_host pin_host", up_to=1, harm="standing")
_add("tampering", "poke_memory", "forbidden_call", l0="allow", l1="allow", up_to=1, harm="money")
_add("tampering", "kill_host stop_host kill_host_thread", l0="gone", l1="gone", up_to=1, harm="host")
_add("tampering", "kill_host_by_pidfd queue_signal_to_host signal_by_io", l0="gone", l1="gone", up_to=1, harm="host")
_add("tampering", "kill_pgrp kill_zygote", l0="gone", l1="died", harms={0: "host", 1: "neighbour"}, lingers=True)
_add("tampering", "kill_sibling", harms={1: "neighbour"}, lingers=True)
_add("tampering", "atexit_handler", up_to=0, harm="file", leaves=True)
_add("tampering", "set_hostname_own")

# Network.
_add("network", "tcp tcp_by_call http udp udp_v6 unix_path unix_abstract pair_to_path listen", up_to=1, harm="network")
_add("network", "channel_to_path stream_pair_reconnect")

# Other programs, other processes, the kernel.
_add("kernel", "exec posix_spawn", up_to=1, harm="file")
_add("kernel", "execve_direct execveat", "forbidden_call", l0="gone", l1="died", harms={0: "host", 1: "file"})
_add("kernel", "forkbomb fork_call clone_process clone3_process clone_into_namespace", up_to=1, harm="processes")
_add("kernel", "daemonize", lingers=True, up_to=1, harm="file")
_add("kernel", "session memfd memwx set_clock syslog accounting quota fanotify message_queue secret_memory")
_add("kernel", "unknown_call landlock_again setuid capabilities seccomp_loosen prctl_loosen setlimit realtime terminal")
_add("kernel", "int80 x32 iouring userns setns mount new_mount chroot pivot_root bpf perf userfaultfd",
     "forbidden_call", l0="allow", l1="allow")  # fmt: skip
_add("kernel", "keyring request_key kernel_module kexec reboot swap port_access segments compare_processes",
     "forbidden_call", l0="allow", l1="allow")  # fmt: skip
_add("kernel", "process_madvise", "forbidden_call", l0="allow", l1="allow")

# Exhaustion and hangs.
_add("exhaustion", "loop deaf_loop cloop regex hashing sleep deadlock swallow_big_number", "timeout",
     deadline_s=DEADLINE_S, is_late=True, up_to=0, harm="blocked")  # fmt: skip
_add("exhaustion", "membomb", "memory", l0="allow", up_to=0, harm="memory")
_add("exhaustion", "memory_in_c", up_to=0, harm="memory")
_add("exhaustion", "leak", steps=5)
_add("exhaustion", "threads", up_to=0, harm="threads")
_add("exhaustion", "bg_burn timer_burn", lingers=True, up_to=0, harm="cpu")
_add("exhaustion", "fd_exhaust socket_exhaust", up_to=0, harm="descriptors")
_add("exhaustion", "diskfill inode_fill", up_to=1, harm="file")
_add("exhaustion", "stderr log_long_line", "timeout", l0="allow", deadline_s=DEADLINE_S, up_to=0, harm="log")

# Crash and exit.
_add("crash", "raise_error recursion big_exception error_chain long_name", "exception")
_add("crash", "hostile_exception", "died", l0="exception")
_add("crash", "raise_base keyboard_interrupt sysexit", "exception", l0="gone", up_to=0, harm="host")
_add("crash", "raise_host_gone osexit thread_exit segv abort stack_overflow corrupt_interpreter", "died",
     l0="gone", up_to=0, harm="host")  # fmt: skip
_add("crash", "signal_self kill_self", "allow", l0="gone", l1="died", l2="died", up_to=0, harm="host")
_add("crash", "stop_self", "allow", l0="gone", l1="timeout", l2="timeout", deadline_s=DEADLINE_S, up_to=0, harm="host")
_add("crash", "close_everything", "died", l0="gone", up_to=0, harm="host")

# Replies and protocol; at L0 there is no channel to write to.
_add("wire", "own_result duplicate_decision reply_and_leave pass_descriptors", "allow")
_add("wire", "malformed plain_text empty_frame json_array not_utf8 lone_surrogate unknown_kind blob_for_json "
             "unknown_frame no_type no_value extra_key nan_value infinity_value deep_value deep_objects blobs_negative "
             "blobs_empty blobs_short blobs_uninvited short_id junk_flood ansi_key bigger_number",
     "malformed", l0="allow")  # fmt: skip
_add("wire", "byte_before_answer patch_frames huge_reply lenbomb just_over_limit blobs_too_many blobs_too_big "
             "blobs_long long_error long_detail",
     "oversize", l0="allow")  # fmt: skip
_add("wire", "forged_id duplicate_id", "forged_id", l0="allow")
_add("wire", "repeat_last_answer", "unsolicited", l0="allow", steps=2)
_add("wire", "thread_answers", "unsolicited|quarantined", l0="allow", steps=2)
_add("wire", "answer_on_thaw", "unsolicited|forged_id", l0="allow", steps=2, rests=True)
_add("wire", "double_reply prefetch_reply trailing_byte locked_again ready_again",
     "unsolicited", l0="allow")  # fmt: skip
_add("wire", "call_to_host", "malformed", l0="allow")
_add("wire", "extra_field wrong_types raw_bad_verdict null_value float_value big_number",
     "bad_result", l0="allow")  # fmt: skip
_add("wire", "forged_memory", "memory", l0="allow")
_add("wire", "forged_kind ansi_detail", "exception", l0="allow")
_add("wire", "half_frame half_header two_halves", "timeout", l0="allow", deadline_s=DEADLINE_S)
_add("wire", "drop_outgoing", "timeout", l0="allow", deadline_s=DEADLINE_S, steps=2)
_add("wire", "drip late_answer", "timeout", l0="allow", deadline_s=DEADLINE_S)
_add("wire", "half_frame_and_leave close_channel shut_channel", "died", l0="allow")
_add("wire", "steal_next_frame", "allow", steps=2)

# Capabilities.
_add("capabilities", "invented_handle", "foreign_handle", l0="allow")
_add("capabilities", "stale_token", "foreign_handle", l0="allow", steps=2)
_add("capabilities", "revived_context", "forged_id", l0="allow", steps=2)
_add("capabilities", "forged_ask_id", "forged_id", l0="allow")
_add("capabilities", "short_handle sequence_ahead sequence_zero arguments_array arguments_nan arguments_overflow "
                     "arguments_underflow ask_extra_key "
                     "operation_empty", "malformed", l0="allow")  # fmt: skip
_add("capabilities", "ask_too_large operation_long sequence_huge", "oversize", l0="allow")
_add("capabilities", "ask_with_blobs", "malformed", l0="allow")
_add("capabilities", "ask_ahead ask_with_answer", "unsolicited", l0="allow")
_add("capabilities", "half_ask", "timeout", l0="allow", deadline_s=DEADLINE_S)
_add("capabilities", "kept_context", steps=2)
_add("capabilities", "thread_asks_late", steps=2)
_add("capabilities", "scope", up_to=0, harm="money")
_add("capabilities", "other_merchants_payment", up_to=0, harm="secret")
_add("capabilities", "merchant_in_arguments operation_injected internal_operation egress_in_decision huge_arguments")
_add("capabilities", "capflood", l0="allow", outcome="capability_flood", up_to=0, harm="flood")

# Values and texts.
_add("values", "bad_verdict plain_dict nothing_at_all awaitable future generator wrong_result_type own_class module "
               "big_value", "bad_result")  # fmt: skip
_add("values", "subclass")
_add("values", "liar unchecked_score negative_score float_score", "bad_result", l0="allow", up_to=0, harm="decision")
_add("values", "unchecked_decision deny_without_reason", "bad_result")
_add("values", "text_of_its_own", l0="deny")
_add("values", "ring", "exception", l0="allow")
_add("values", "many_discounts", "oversize", hook="amend_basket", l0="BasketOperations")
_add("values", "negative_discount", "bad_result", hook="amend_basket", l0="BasketOperations")
_add("values", "huge_blob", "oversize", hook="render_receipt", l0="Rendered")
_add("values", "media_type_injected", "bad_result", hook="render_receipt", l0="Rendered")
_add("values", "patched_serializer", "bad_result", l0="allow")
_add("values", "log_injection log_binary", up_to=0, harm="log")
_add("values", "log_closed log_through_c patched_streams")

# While it is imported.
_add("boot", "import_time", "ready", mode="read_key", up_to=1, harm="secret")
_add("boot", "boot_write", "ready", mode="make_folder", up_to=1, harm="file")
_add("boot", "boot_tcp", "ready", mode="tcp", up_to=1, harm="network")
_add("boot", "boot_shell", "ready", mode="exec", up_to=1, harm="file")
_add("boot", "boot_fork", "ready", mode="forkbomb", up_to=1, harm="processes")
_add("boot", "boot_fatal", "forbidden_call", mode="iouring", l0="ready", l1="ready")
_add("boot", "boot_memory", "load", mode="membomb", l0="ready", up_to=0, harm="memory")
_add("boot", "boot_raise", "load", mode="raise_error")
_add("boot", "boot_sysexit", "load", mode="sysexit", l0="gone", up_to=0, harm="host")
_add("boot", "boot_osexit", "load", mode="osexit", l0="gone", up_to=0, harm="host")
_add("boot", "boot_segv", "load", mode="segv", l0="gone", up_to=0, harm="host")
_add("boot", "boot_loop", "boot_timeout", mode="loop", l0="ready")
_add("boot", "boot_sleep", "boot_timeout", l0="ready")
_add("boot", "boot_locked boot_result", "unsolicited", l0="ready")
_add("boot", "boot_ready", "unsolicited|quarantined", l0="allow", calls_after=True)
_add("boot", "boot_ready_alone", "timeout", l0="allow", calls_after=True, deadline_s=DEADLINE_S)
_add("boot", "boot_garbage boot_overflow", "malformed", l0="ready")
_add("boot", "boot_lenbomb", "oversize", l0="ready")
_add("boot", "boot_ansi boot_arguments", "load")
_add("boot", "boot_ansi_raw boot_ansi_hooks", "load", l0="ready")
_add("boot", "boot_fewer_hooks boot_more_hooks boot_coroutine boot_generator boot_wrapper boot_tryfirst "
             "boot_getattr boot_replaced_module", "load", l0="ready")  # fmt: skip
_add("boot", "boot_thread", "ready", lingers=True, up_to=0, harm="cpu")
_add("boot", "boot_log", "boot_timeout", mode="stderr", l0="ready", up_to=0, harm="log")
_add("boot", "boot_shadow boot_meta_path boot_audit_hook", "allow", calls_after=True)
_add("boot", "boot_hide_contracts boot_patched_worker", "load", l0="ready")

TABLE: Final = tuple(_table.behaviours)
BOOTS: Final = tuple(each for each in TABLE if each.boots)
"""In the order of their releases."""


def summary() -> list[str]:
    """How many behaviours of each group harm at each level, as lines of a table in Markdown."""
    lines = ["| group | behaviours | L0 | L1 | L2 | L3 | L4 |", "|---|---|---|---|---|---|---|"]
    groups: dict[str, list[Behaviour]] = {}
    for behaviour in TABLE:
        groups.setdefault(behaviour.group, []).append(behaviour)
    for name, members in [*groups.items(), ("all", list(TABLE))]:
        harmful = (str(sum(bool(each.harms[level]) for each in members)) for level in range(LEVELS))
        lines.append(f"| {name} | {len(members)} | {' | '.join(harmful)} |")
    return lines
