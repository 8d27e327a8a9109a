"""The entry point: lazy commands, exit codes, and what people see when something is wrong."""

import importlib
import os
import subprocess
import sys

import click
import pytest

from offramp import __version__
from offramp.cli import main as cli
from offramp.errors import GateRefused, JobError, OfframpError, SpaceError

HEAVY = ("dspy", "litellm", "optuna", "pandas", "torch", "numpy", "pydantic", "sqlalchemy", "rich")


@pytest.fixture
def run(monkeypatch):
    """Run the group with one command `act` that calls the given function."""

    def runner(action, *args):
        @click.command()
        @click.argument("rest", nargs=-1)
        @click.pass_context
        def act(ctx, rest):
            action(ctx)

        module = type(sys)("offramp_test_command")
        module.act = act
        monkeypatch.setitem(sys.modules, "offramp_test_command", module)
        monkeypatch.setitem(cli.offramp._lazy, "act", ("offramp_test_command:act", "Act."))
        return cli.main(["act", *args])

    return runner


def raising(error):
    def action(_ctx):
        raise error

    return action


def test_help_lists_every_command_and_imports_none(capsys):
    code = (
        "import sys; from offramp.cli.main import main; assert main(['--help']) == 0; "
        f"loaded = [m for m in {HEAVY!r} if m in sys.modules] + "
        "[m for m in sys.modules if m.startswith('offramp.cli.') and m not in ('offramp.cli.main', 'offramp.cli.prints')]; "
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"  {name} " in done.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_in_the_list_exists_and_has_help_and_json(name, capsys):
    module, _, attribute = cli.COMMANDS[name][0].partition(":")
    command = getattr(importlib.import_module(module), attribute)
    assert command.name == name
    leaves = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    no_json = [leaf.name for leaf in leaves if not any("--json" in param.opts for param in leaf.params)]
    assert set(no_json) <= {"schema"}, "every command prints records with --json; a schema is JSON already"
    assert cli.main([name, "--help"]) == 0
    assert "Usage: offramp " + name in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--storage", "--results", "--promotions", "--lifecycle", "--label"])
def test_an_option_of_several_commands_means_and_says_the_same_in_each(option):
    commands = [cli.offramp.get_command(click.Context(cli.offramp), name) for name in cli.COMMANDS]
    found = [param for command in commands for param in command.params if option in param.opts]
    assert len(found) > 1
    assert len({(param.help, str(param.default), param.envvar) for param in found}) == 1


def test_version_is_the_package_s(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"offramp {__version__}\n"


def test_an_unknown_command_names_the_nearest_and_exits_2(capsys):
    assert cli.main(["optimise"]) == 2
    shown = capsys.readouterr()
    assert "no command 'optimise'. Did you mean 'optimize'?" in shown.err
    assert shown.out == ""


def test_an_unknown_option_exits_2(capsys):
    assert cli.main(["--colour"]) == 2
    assert "--colour" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(JobError("stopped"), 1), (OfframpError("no"), 1), (SpaceError("bad"), 2), (GateRefused("worse"), 3)],
)
def test_our_errors_are_one_message_on_stderr_and_their_own_exit_code(run, capsys, error, code):
    assert run(raising(error)) == code
    shown = capsys.readouterr()
    assert shown.err == f"error: {error}\n"
    assert shown.out == ""


def test_our_error_out_of_a_task_group_is_still_one_message(run, capsys):
    group = ExceptionGroup("tasks", [ExceptionGroup("inner", [SpaceError("first")]), JobError("second")])
    assert run(raising(group)) == 2
    assert capsys.readouterr().err == "error: first\n"


def test_a_bug_inside_a_task_group_is_not_hidden_behind_our_error(run):
    with pytest.raises(ExceptionGroup, match="tasks"):
        run(raising(ExceptionGroup("tasks", [SpaceError("first"), KeyError("bug")])))


def test_a_message_cannot_steer_the_terminal(run, capsys):
    assert run(raising(JobError("model said \x1b[2J\r\x9b and\nmore"))) == 1
    assert capsys.readouterr().err == "error: model said \\x1b[2J\\r\\x9b and\nmore\n"


def test_ctrl_c_exits_130_without_a_traceback(run, capsys):
    assert run(raising(KeyboardInterrupt())) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_question_without_an_answer_exits_1(run, capsys):
    assert run(raising(EOFError())) == 1
    assert "standard input has ended" in capsys.readouterr().err


def test_a_command_chooses_its_exit_code(run):
    assert run(lambda ctx: ctx.exit(3)) == 3
    assert run(lambda ctx: None) == 0


def test_a_bug_goes_through(run):
    with pytest.raises(ZeroDivisionError):
        run(lambda ctx: 1 / 0)


def test_a_bug_shows_a_traceback_and_exits_1():
    code = (
        "import sys; from offramp.cli import main as m; "
        "m.offramp._lazy['bug'] = ('nowhere_at_all:x', ''); sys.exit(m.main(['bug']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("flags", [[], ["-u"]])
def test_a_reader_that_left_gets_no_complaint(flags):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, *flags, "-m", "offramp.cli.main", "--help"], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == 1


@pytest.mark.parametrize("module", ["offramp", "offramp.cli.main"])
def test_a_terminal_without_the_letters_gets_question_marks_and_no_traceback(module, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", module, "pareto", "ü\u2500", "--storage", f"sqlite:///{tmp_path}/é.db"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: ") and b"Traceback" not in done.stderr


def test_a_table_on_a_terminal_without_its_letters_is_printed_all_the_same():
    code = (
        "import sys; from offramp.cli import main as m; import click; "
        "m.offramp.add_command(click.Command('show', callback=lambda: print('front \\u2502 \\u25cf'))); "
        "m.offramp._lazy['show'] = ('', ''); m.LazyGroup.get_command = lambda s, c, n: s.commands.get(n); "
        "sys.exit(m.main(['show']))"
    )
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"front ? ?\n"), done.stderr
