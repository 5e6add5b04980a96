"""What a worker may not do on its channel, and what each attempt costs."""

from __future__ import annotations

import asyncio
import time

import pytest

from platform_core.contracts.runtime import Answered, Fault, FaultKind, Told
from sandbox.runtime.channel import HANDLE_INVALID
from sandbox.runtime.levels import Level
from tests.sandbox.runtime.stage import Stage, until

_RESULT = '{"t": "result", "id": call.id, "value": {"decision": "allow"}}'
MISUSE = """
import gc
from sandbox.runtime.worker_clients import WorkerClients

def ids():
    return next(o for o in gc.get_objects() if type(o) is WorkerClients and not o._is_over)

def result(call_id, **parts):
    return json.dumps({"t": "result", "id": call_id, **parts}).encode()

def capability(handle=None, call_id=None, after=b"", **parts):
    call = ids()
    parts = {"t": "capability", "id": call_id or call._call_id, "sequence": 1, "handle": handle or call._handle,
             "operation": "state.get", "arguments": {}, **parts}
    body = json.dumps(parts).encode()
    frame = struct.pack(">BI", 1, len(body)) + body
    os.write(3, frame + (frame if after is frame_again else after))
    time.sleep(60)

frame_again = object()

ALLOW = {"decision": "allow"}

@hookimpl
def check_payment(ctx, payment):
    if payment.subject:
        exec(payment.subject)
    return Verdict.allow()
"""
SECURITY = [
    ("send(result(ids()._call_id, value=ALLOW))", FaultKind.UNSOLICITED),
    ("send(result('0' * 32, value=ALLOW)); time.sleep(60)", FaultKind.FORGED_ID),
    ("send(result('0' * 32, error_type='E')); time.sleep(60)", FaultKind.FORGED_ID),
    ("send(result('0' * 32, value={'decision': 'no'})); time.sleep(60)", FaultKind.FORGED_ID),
    ("capability(call_id='0' * 32)", FaultKind.FORGED_ID),
    ("capability(handle='0' * 32)", FaultKind.FOREIGN_HANDLE),
    ('send(b\'{"t":"ready","hooks":[],"providers":[],"import_ms":0}\'); time.sleep(60)', FaultKind.UNSOLICITED),
    ('send(b\'{"t":"locked"}\'); time.sleep(60)', FaultKind.UNSOLICITED),
    ("capability(after=frame_again)", FaultKind.UNSOLICITED),
]
OTHERS = [
    ("os.write(3, b'GET / HTTP/1.1'); time.sleep(60)", FaultKind.MALFORMED),
    ("os.write(3, struct.pack('>BI', 1, 2**32 - 1)); time.sleep(60)", FaultKind.OVERSIZE),
    ("os.write(3, struct.pack('>BI', 1, 65537)); time.sleep(60)", FaultKind.OVERSIZE),
    ("os.write(3, struct.pack('>BI', 2, 5)); time.sleep(60)", FaultKind.MALFORMED),
    ("send(b'{'); time.sleep(60)", FaultKind.MALFORMED),
    ("send(result(ids()._call_id, value=ALLOW, blobs=[2**20])); time.sleep(60)", FaultKind.OVERSIZE),
    ("send(result(ids()._call_id, value=ALLOW, blobs=[1] * 9)); time.sleep(60)", FaultKind.OVERSIZE),
    (
        "send(result(ids()._call_id, value=ALLOW, blobs=[1])); os.write(3, struct.pack('>BIc', 2, 1, b'x')); "
        "time.sleep(60)",
        FaultKind.MALFORMED,
    ),
    ("send(result(ids()._call_id)); time.sleep(60)", FaultKind.MALFORMED),
    ("send(result(ids()._call_id, value=ALLOW, more=1)); time.sleep(60)", FaultKind.MALFORMED),
    ("send(result(ids()._call_id, value=ALLOW, error_type='E' * 81)); time.sleep(60)", FaultKind.OVERSIZE),
    ("capability(sequence=7)", FaultKind.MALFORMED),
    ("capability(blobs=[5], after=struct.pack('>BI', 2, 5) + b'12345')", FaultKind.MALFORMED),
    ("capability(blobs=[5], after=struct.pack('>BI', 2, 4) + b'1234')", FaultKind.MALFORMED),
    ("capability(blobs=[5], operation='egress.fetch')", FaultKind.TIMEOUT),
    ("list(map(ctx.state.get, ['k'] * 51))", FaultKind.CAPABILITY_FLOOD),
    ("os.close(3); time.sleep(60)", FaultKind.DIED),
    ("os.write(3, b'\\x01\\x00'); os._exit(0)", FaultKind.DIED),
]


@pytest.mark.parametrize(("code", "kind"), SECURITY, ids=[f"{kind}-{n}" for n, (_, kind) in enumerate(SECURITY)])
async def test_a_security_fault_ends_the_version_at_once(stage: Stage, code: str, kind: FaultKind) -> None:
    """Mistake 1 among them: the answer to a call sent ahead, or twice, is never taken for another call's."""
    plugin, other = stage.plugin(MISUSE), stage.plugin(MISUSE)
    assert isinstance(await stage.ask(plugin, arguments={"subject": ""}), Answered)
    assert isinstance(await stage.ask(plugin, arguments={"subject": ""}, merchant_id="mer_2"), Answered)
    assert isinstance(await stage.ask(other, arguments={"subject": ""}), Answered)
    if "send(result(ids()._call_id, value=ALLOW))" in code:
        # The forged answer may be taken for this call's own; its true answer is then what nobody asked for.
        outcome = await stage.ask(plugin, arguments={"subject": code})
        if isinstance(outcome, Answered):
            await stage.ask(plugin, arguments={"subject": ""})
            await until(lambda: stage.listener.faults or not stage.supervisor.pids(plugin))
        else:
            assert outcome.kind is kind
    else:
        assert (await stage.fault(plugin, arguments={"subject": code})).kind is kind
    for merchant_id in ("mer_1", "mer_2"):
        fault = await stage.fault(plugin, merchant_id=merchant_id)
        assert fault.kind is FaultKind.QUARANTINED
        assert fault.detail.startswith(f"{kind}: ")
    await until(lambda: stage.supervisor.pids(plugin) == ())
    assert isinstance(await stage.ask(other, arguments={"subject": ""}), Answered)
    assert stage.gate.asked == [] or kind is FaultKind.UNSOLICITED


@pytest.mark.parametrize(("code", "kind"), OTHERS, ids=[f"{kind}-{n}" for n, (_, kind) in enumerate(OTHERS)])
async def test_another_misuse_costs_the_worker_and_nobody_else(stage: Stage, code: str, kind: FaultKind) -> None:
    plugin = stage.plugin(MISUSE)
    assert isinstance(await stage.ask(plugin, arguments={"subject": ""}), Answered)
    before = set(stage.supervisor.pids(plugin))
    deadline_s = 0.3 if kind is FaultKind.TIMEOUT else 20.0
    fault = await stage.fault(plugin, arguments={"subject": code}, deadline_s=deadline_s)
    assert fault.kind is kind, fault
    assert isinstance(await stage.ask(plugin, arguments={"subject": ""}), Answered)
    assert before - set(stage.supervisor.pids(plugin))
    assert stage.listener.faults == []


async def test_a_handle_that_the_gate_does_not_know_quarantines(stage: Stage) -> None:
    plugin = stage.plugin(MISUSE)
    stage.gate.answers = {"state.get": Told(code=HANDLE_INVALID, hint="void")}
    fault = await stage.fault(plugin, arguments={"subject": "ctx.state.get('k')"})
    assert fault == Fault(FaultKind.FOREIGN_HANDLE, "void")
    assert (await stage.fault(plugin)).kind is FaultKind.QUARANTINED


async def test_an_answer_to_the_next_call_sent_ahead_is_never_taken(stage: Stage) -> None:
    """The plugin writes as soon as it is thawed for a call whose id it cannot know."""
    plugin = stage.plugin(
        MISUSE
        + """
def ahead():
    while True:
        try:
            send(result("f" * 32, value=ALLOW))
        except OSError:
            return

started = []

@hookimpl
def check_refund(ctx, refund):
    threading.Thread(target=ahead, daemon=True).start()
    time.sleep(0.2)
    return Verdict.allow()
""",
        hooks=["check_payment", "check_refund"],
    )
    fault = await stage.fault(plugin, target="check_refund")
    assert fault.kind in (FaultKind.FORGED_ID, FaultKind.UNSOLICITED)
    assert (await stage.fault(plugin)).kind is FaultKind.QUARANTINED


@pytest.mark.parametrize("frame", ['{"t": "locked", "level": 4}', '{"t": "result", "id": "0", "value": null}'])
async def test_a_frame_written_at_import_is_refused(stage: Stage, frame: str) -> None:
    """Mistake 7: the lockdown's report could be forged by the plugin; now the true one has come before."""
    plugin = stage.plugin(f"send({frame!r}.encode())\n@hookimpl\ndef check_payment():\n    return Verdict.allow()\n")
    fault = await stage.supervisor.warm(plugin, "1.0.0")
    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.UNSOLICITED
    assert [heard.kind for _, heard in stage.listener.faults] == [FaultKind.UNSOLICITED]
    assert (await stage.fault(plugin)).kind is FaultKind.QUARANTINED


async def test_a_report_of_readiness_written_at_import_gains_nothing(stage: Stage) -> None:
    ready = '{"t": "ready", "hooks": ["check_payment"], "providers": [], "import_ms": 0.0}'
    plugin = stage.plugin(f"send({ready!r}.encode())\n@hookimpl\ndef check_payment():\n    return Verdict.allow()\n")
    await stage.ask(plugin)
    await until(lambda: not stage.supervisor.pids(plugin))
    assert (await stage.fault(plugin)).kind is FaultKind.QUARANTINED


async def test_a_forbidden_call_is_known_by_its_signal(stage: Stage) -> None:
    if stage.spawner.level < Level.L2:
        pytest.fail("this machine attains no level that forbids anything")
    plugin = stage.plugin(MISUSE)
    code = "import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0); time.sleep(60)"
    assert (await stage.fault(plugin, arguments={"subject": code})).kind is FaultKind.FORBIDDEN_CALL
    assert (await stage.fault(plugin)).kind is FaultKind.QUARANTINED


async def test_a_forbidden_call_at_import_quarantines_too(stage: Stage) -> None:
    plugin = stage.plugin("import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)\n")
    fault = await stage.fault(plugin)
    assert fault.kind in (FaultKind.FORBIDDEN_CALL, FaultKind.QUARANTINED)
    assert [heard.kind for _, heard in stage.listener.faults] == [FaultKind.FORBIDDEN_CALL]
    assert (await stage.fault(plugin)).kind is FaultKind.QUARANTINED


BURNER = """
def burn():
    while True:
        pass

@hookimpl
def check_payment(ctx, payment):
    threading.Thread(target=burn, daemon=True).start()
    if payment.subject == "raise":
        raise ValueError
    return Verdict.allow()
"""


def cpu_s(pid: int) -> float:
    return time.clock_gettime(~pid << 3 | 2)


@pytest.mark.parametrize("after", ["", "raise", "ready"])
async def test_threads_burn_nothing_after_the_answer(stage: Stage, after: str) -> None:
    """Mistake 2: at most 2 ms of CPU in 500 ms after an answer, after an exception, and after `ready`."""
    code = BURNER if after != "ready" else f"{BURNER}\nthreading.Thread(target=burn, daemon=True).start()\n"
    plugin = stage.plugin(code)
    if after == "ready":
        await stage.supervisor.warm(plugin, "1.0.0")
    else:
        await stage.ask(plugin, arguments={"subject": after})
    pids = stage.supervisor.pids(plugin)
    await asyncio.sleep(0.05)  # A signal may take that long to reach a process on a busy machine.
    before = {pid: cpu_s(pid) for pid in pids}
    await asyncio.sleep(0.5)
    assert all(cpu_s(pid) - before[pid] <= 0.002 for pid in pids), (before, [cpu_s(pid) for pid in pids])
    assert before


LOGGER = """
@hookimpl
def check_payment(ctx, payment):
    exec(payment.subject)
    return Verdict.allow()
"""


async def test_a_thousand_calls_that_log_a_kibibyte_each_succeed(stage: Stage) -> None:
    """Mistake 8: the pipe was drained at the end alone, and froze an honest logger after 64 KiB."""
    plugin = stage.plugin(LOGGER)
    for _ in range(1000):
        answered = await stage.ask(plugin, arguments={"subject": "print('x' * 1023)"})
        assert isinstance(answered, Answered), answered
    assert len(stage.lines) == 1000
    assert {line for _, line in stage.lines} == {"x" * 1023}
    assert len({call_id for call_id, _ in stage.lines}) == 1000


async def test_lines_are_tagged_escaped_and_cut(stage: Stage) -> None:
    plugin = stage.plugin(LOGGER)
    first = stage.call(plugin, arguments={"subject": "print('\\x1b[2J\\u202e one'); ctx.log.warning('two', n=1)"})
    await stage.supervisor.begin(first).outcome()
    second = stage.call(plugin, arguments={"subject": "os.write(2, b'\\xff' + b'y' * 9000 + b'\\n')"})
    await stage.supervisor.begin(second).outcome()
    assert stage.lines == [
        (first.id, "\\x1b[2J\\u202e one"),
        (first.id, "warning: two n=1"),
        (second.id, "\\xff" + "y" * 8191),
        (second.id, "... and 810 bytes more"),
    ]


async def test_who_floods_the_log_blocks_itself_and_meets_its_deadline(stage: Stage) -> None:
    plugin, other = stage.plugin(LOGGER), stage.plugin(LOGGER)
    assert isinstance(await stage.ask(other, arguments={"subject": ""}), Answered)
    flood = stage.begin(plugin, arguments={"subject": "while True: os.write(2, b'z' * 4096)"}, deadline_s=2.0)
    for _ in range(20):
        assert isinstance(await stage.ask(other, arguments={"subject": ""}), Answered)
    assert (await flood.outcome()) == Fault(FaultKind.TIMEOUT, "no answer by the deadline")
    await until(lambda: any(line.endswith("bytes more") for _, line in stage.lines))
    assert sum(len(line) for _, line in stage.lines) < 10_000


async def test_the_last_words_of_a_worker_are_heard(stage: Stage) -> None:
    plugin = stage.plugin(LOGGER)
    await stage.fault(plugin, arguments={"subject": "os.write(2, b'farewell\\n'); os._exit(1)"})
    await until(lambda: "farewell" in {line for _, line in stage.lines})
