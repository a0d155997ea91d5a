"""The console command as a whole: help, exit statuses, one sentence for what goes wrong."""

import errno
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from PIL import Image

from idf.commands import COMMANDS, Commands, main, options, run
from idf.commands.options import OWN_OPTIONS, parse_settings
from idf.config import PRESETS, ROOT, UserError, load_config, load_film_config
from idf.settings import setting_names

GROUP = Commands(name="idf")


def options_of(name: str) -> set[str]:
    """What a command takes, like {"--preset", ...}."""
    command = GROUP.get_command(None, name)
    return {option for parameter in command.params for option in parameter.opts}


def file_of(name: str) -> Path:
    return ROOT / "idf" / "commands" / f"{name.replace('-', '_')}.py"


@pytest.mark.parametrize(
    "error, status, said",
    [
        (UserError("Mend it."), 2, "idf: Mend it.\n"),
        (KeyboardInterrupt(), 130, "idf: Interrupted: the same command starts again"),
        (OSError(errno.ENOSPC, "No space left"), 1, "idf: The disk is full: free some space"),
        (
            PermissionError(errno.EACCES, "Permission denied", "out/a.png"),
            1,
            "idf: out/a.png: Permission denied; mend that and run the same command again.\n",
        ),
        (ValueError("odd\nthing"), 1, "idf: ValueError: odd thing (IDF_DEBUG=1 shows where).\n"),
    ],
)
def test_no_traceback_reaches_the_user(monkeypatch, capsys, error, status, said):
    def fail():
        raise error

    monkeypatch.delenv("IDF_DEBUG", raising=False)
    monkeypatch.setattr(run, "main", fail)
    assert main(["run"]) == status
    err = capsys.readouterr().err
    assert err.startswith(said) and err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--preset", "smoke", "--out", "{}"],
        ["check", "{photo}", "{photo}", "-o", "{}/a.png"],
        ["protect", "{photo}", "-o", "{}/"],
        ["protect-results", "{folder}", "--out", "{}/a.json"],
        ["weights", "--preset", "smoke", "--out", "{}"],
        ["weights", "--preset", "smoke", "--work", "{}"],
        ["film-weights", "--preset", "smoke", "--out", "{}"],
        ["table1", "--preset", "smoke", "--out", "{}/a.json"],
        ["robustness", "--preset", "smoke", "--out", "{}/a.json"],
        ["ablations", "--preset", "smoke", "--out", "{}/a.json"],
        ["ablations", "--preset", "smoke", "--work", "{}"],
        ["joint", "--preset", "smoke", "--out", "{}/a.json"],
        ["joint", "--preset", "smoke", "--work", "{}"],
        ["adaptive", "--preset", "smoke", "--out", "{}/a.json"],
        ["adaptive", "--preset", "smoke", "--work", "{}"],
        ["reenact", "--preset", "smoke", "--out", "{}/a.json"],
    ],
    ids=lambda words: " ".join(words[:1] + words[-2:-1]),
)
def test_where_nothing_can_be_written_is_said_before_any_work(tmp_path, monkeypatch, capsys, words):
    """A file stands where a folder should be; permissions do not bind the user root."""
    (tmp_path / "file").touch()
    Image.new("RGB", (64, 64)).save(tmp_path / "photo.png")
    places = {"photo": tmp_path / "photo.png", "folder": tmp_path}
    monkeypatch.setattr("idf.zoo.cells.measure_all", None)
    monkeypatch.setattr("idf.apps.photo.search.find_faces", None)
    assert main([word.format(tmp_path / "file" / "new", **places) for word in words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("idf: Nothing can be written to the folder") and err.count("\n") == 1


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("IDF_DEBUG", "1")
    with pytest.raises(UserError):
        main(["run", "--preset", "huge"])


def test_console_answers_quickly_to_what_it_does_not_know():
    """In a process of its own: no torch is imported before the command is known."""
    code = (
        "import sys; from idf.commands import main; status = main(sys.argv[1:])\n"
        "sys.exit(9 if 'torch' in sys.modules else status)"
    )
    for words, status in (["dance"], 2), ([], 2), (["--help"], 0), (["run", "--help"], 0):
        command = [sys.executable, "-c", code, *words]
        result = subprocess.run(command, text=True, capture_output=True)
        assert result.returncode == status
        if status:
            assert result.stderr.startswith("idf: ") and result.stderr.count("\n") == 1
            assert "see `idf --help`" in result.stderr


def test_help_is_plain_and_names_every_command():
    command = [sys.executable, "-m", "idf", "--help"]
    page = subprocess.run(command, text=True, capture_output=True, check=True).stdout
    assert all(re.search(rf"^  {name} ", page, re.M) for name in COMMANDS)
    assert "completion" not in page and "─" not in page


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_every_option(name, capsys):
    assert main([name, "--help"]) == 0
    page = capsys.readouterr().out
    assert page.startswith(f"Usage: idf {name} ") and COMMANDS[name].split(",")[0][:40] in page
    assert all(option in page for option in options_of(name) if option.startswith("-"))
    assert main([name, "--colour"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("idf: No such option: --colour")
    assert said.endswith(f"see `idf {name} --help`.\n") and said.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_advises_an_option_that_it_lacks(name):
    advised = set(re.findall(r"(?<!idf )--[a-z][a-z-]+", file_of(name).read_text()))
    assert advised <= options_of(name) | {"--help"}


def test_modules_advise_an_option_only_with_its_command():
    """Elsewhere a sentence may reach users of several commands: it names the one it means."""
    for path in (ROOT / "idf").rglob("*.py"):
        if path.parent.name == "commands":
            continue
        text = " ".join(re.sub(r'"\s*f?"', "", path.read_text()).split())
        for command, option in re.findall(r"idf ([a-z-]+) [^`\"]*?(--[a-z][a-z-]+)", text):
            assert option in options_of(command), f"{path}: idf {command} has no {option}"
        alone = re.findall(r"(?:with|use|by|option) (--[a-z][a-z-]+)", text)
        assert not alone, f"{path} advises {alone} without a command"
        if "data" in path.parts:  # pictures are read by every command that takes a folder of them
            for option in re.findall(r"add (--[a-z][a-z-]+)", text):
                readers = [name for name in COMMANDS if "--data" in options_of(name)]
                assert all(option in options_of(name) for name in readers)


@pytest.mark.parametrize("name", [name for name in COMMANDS if "--set" in options_of(name)])
def test_what_is_no_setting_is_refused_with_an_option_that_the_command_has(name, capsys):
    for setting in OWN_OPTIONS:
        assert main([name, "--set", f"{setting}=1"]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and said.startswith(f"idf: {setting} ")
        assert set(re.findall(r"use (--[a-z-]+)", said)) <= options_of(name)


@pytest.mark.parametrize("name", [name for name in COMMANDS if "--weights" in options_of(name)])
def test_networks_and_settings_of_ones_own_stay_apart_from_the_stored_results(
    name, capsys, tmp_path
):
    """Neither the stored rows nor the folder of networks behind them is where they go."""
    changes = [["--weights", str(tmp_path)]]
    if "--set" in options_of(name):
        changes.append(["--set", "poisoner.iterations=3"])
    for words in changes:
        asked = []
        for option in [one for one in ("--out", "--work") if one in options_of(name)]:
            assert main([name, "--preset", "smoke", *words]) == 2
            said = capsys.readouterr().err
            assert said.count("\n") == 1 and said.rstrip().endswith(f", {option}.")
            words += [option, str(tmp_path / "own")]
            asked.append(option)
        assert asked
    assert not list(tmp_path.iterdir())


NUMBERS = {  # option: values of a wrong type, sign or size
    "--seed": ("x", "-1", "1.5", "2147483648", "9" * 30),
    "--seeds": ("x", "-1", "1.5", "2147483648", "9" * 30),
    "--start": ("x", "-1", "nan", "inf"),
    "--eps": ("x", "-1", "0", "nan", "2"),
    "--images": ("x", "-1", "0"),
    "--jobs": ("x", "-1", "0"),
    "--set": ("size=100", "eps=-1", "eps=[", "batch=9", "faces=-1", "frames=x", "seed=-1"),
}


@pytest.mark.parametrize(
    "name, option, value",
    [
        (name, option, value)
        for name in COMMANDS
        for option, values in NUMBERS.items()
        for value in values
        if option in options_of(name) and name not in ("protect", "check")
    ],
)
def test_a_wrong_number_is_one_sentence_before_any_work(name, option, value, capsys, monkeypatch):
    monkeypatch.delenv("IDF_DEBUG", raising=False)
    words = [name, "--preset", "smoke", option, value]
    if option == "--start" and value == "inf":
        words += ["--video", __file__]
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.err.startswith("idf: ") and said.err.count("\n") == 1 and not said.out


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", [name for name in COMMANDS if "--preset" in options_of(name)])
def test_every_command_parses_every_preset(name, preset, monkeypatch):
    """Up to where it would begin its work."""
    command = GROUP.get_command(None, name)
    words = ["--preset", preset]
    for option, value in {"--seed": "3", "--seeds": "4", "--set": "poisoner.eps=.03"}.items():
        if option in options_of(name):
            words += [option, value]
    given = {}
    monkeypatch.setattr(command, "callback", lambda **values: given.update(values))
    with command.make_context(name, words) as context:
        command.invoke(context)
    assert given["preset"] == preset and given.get("seed", 3) == 3

    settings = parse_settings(given.get("changes", ()), {})
    for load in (load_config, load_film_config):
        config = load(given["preset"], **settings)
        assert config.preset == preset
        if settings:
            assert config.poisoner.eps == 0.03


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("load", [load_config, load_film_config])
def test_every_setting_can_be_given_as_it_is(preset, load):
    """What a configuration holds, written as --set NAME=VALUE, gives this configuration."""
    config = load(preset)
    for name in set(setting_names(type(config))) - set(OWN_OPTIONS):
        value = config
        for part in name.split("."):
            value = getattr(value, part)
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        if text in ("True", "False"):
            text = text.lower()
        if text:
            assert load(preset, **parse_settings([f"{name}={text}"], {})) == config, name


@pytest.mark.parametrize(
    "text, value",
    [
        ("eps=.03", 0.03),
        ("eps=-.5", -0.5),
        ("lr=1e-3", 1e-3),
        ("batch=4", 4),
        ("affine=true", True),
        ("domains=Smiling,Bangs", "Smiling,Bangs"),
        ("domains=[1,2]", [1, 2]),
        ("a=b=c", "b=c"),
    ],
)
def test_values_are_json_or_text(text, value):
    assert parse_settings([text], {}) == {text.partition("=")[0]: value}


@pytest.mark.parametrize("text", ["eps", "=3", "eps=", ""])
def test_a_setting_has_a_name_and_a_value(text):
    with pytest.raises(UserError, match="NAME=VALUE"):
        parse_settings([text], {})


def test_files_and_folders_are_found_or_missed_in_one_sentence(tmp_path):
    file = tmp_path / "a.mp4"
    file.touch()
    assert options.find_video("") == options.find_landmarks("") == options.find_data("") == ""
    assert options.find_video(str(file)) == options.find_landmarks(str(file)) == str(file)
    assert options.find_data(str(tmp_path)) == str(tmp_path)
    for find in (options.find_video, options.find_landmarks):
        with pytest.raises(UserError, match="There is no .*none"):
            find(str(tmp_path / "none"))
    with pytest.raises(UserError, match="There is no data folder"):
        options.find_data(str(file))


def test_a_repeatable_option_takes_several_values(monkeypatch):
    """As the stored commands have it, `--seeds 0 1 2`, and as Click has it."""
    command = GROUP.get_command(None, "reenact")
    given = {}
    monkeypatch.setattr(command, "callback", lambda **values: given.update(values))

    def parse(*words):
        with command.make_context("reenact", list(words)) as context:
            command.invoke(context)
        return given

    found = parse("--seeds", "0", "1", "--targets", "CNet", "--work", "w", "--seeds", "2")
    assert (found["seeds"], found["targets"], found["work"]) == ([0, 1, 2], ["CNet"], "w")
    found = parse("--set", "eps=.01", "--methods", "reseed", "ours", "--preset", "smoke")
    assert (found["methods"], found["changes"]) == (["reseed", "ours"], ["eps=.01"])
    assert found["seeds"] == [0, 1, 2] and found["preset"] == "smoke"
    with pytest.raises(typer.TyperException, match="--seeds"):
        parse("--seeds")


@pytest.mark.parametrize(
    "words, said",
    [
        (["weights", "--only", "judge", "surogate"], "--only surogate is not known: use one of"),
        (["film-weights", "--only", "judge"], "--only judge is not known: use one of parser"),
        (["reenact", "--methods", "oars"], "--methods oars is not known: use one of clean"),
        (["reenact", "--targets", "UNet1"], "--targets UNet1 is not known: use one of UNet256"),
        (["reenact", "--seeds", "0", "x"], "--seeds"),
        (["table1", "--images", "0"], "--images 0: "),
        (["table1", "--preset", "huge"], "Unknown preset 'huge'"),
    ],
)
def test_a_value_that_is_not_known_is_one_sentence(words, said, capsys):
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("idf: ") and said in err and err.count("\n") == 1
