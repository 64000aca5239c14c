"""`python -m serving.client`: what it prints, and how it ends."""

import csv
import io
import json
from pathlib import Path

import grpc
import pytest
from absl import flags

from pipelines.cli import safe_text
from serving.client import Client, output
from serving.client import __main__ as client_module
from tests.helpers.fake_service import FakeService, serving_at


@pytest.fixture
def files(tmp_path: Path, photograph) -> dict[str, str]:
    """Name -> path of two photographs, of files that are none, and of one that only the server can tell."""
    contents = {
        "red.jpg": photograph((200, 40, 40)),
        "grün.jpg": photograph((40, 200, 40)),
        "empty.jpg": b"",
        "large.jpg": photograph((9, 9, 9), size=(1001, 1000)),  # more pixels than the stand-in decodes
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: str(tmp_path / name) for name in (*contents, "missing.jpg")}


def records(output: str) -> list[dict]:
    return [json.loads(line) for line in output.splitlines()]


def test_json_is_one_object_a_line_in_the_order_of_the_files(command, server, files, capsys):
    paths = [files["grün.jpg"], files["red.jpg"], files["grün.jpg"]]
    assert command(client_module, f"--server={server.address}", "--json", "--top_k=3", *paths) == 0
    output, errors = capsys.readouterr()
    found = records(output)
    with Client(server.address) as client:
        expected = client.classify([Path(path).read_bytes() for path in paths], top_k=3)
    assert [record["file"] for record in found] == paths
    for record, prediction in zip(found, expected, strict=True):
        assert set(record) == {"file", "valid", "labels", "classes", "scores"}
        assert record["valid"] is True
        assert tuple(record["labels"]) == prediction.labels
        assert tuple(record["classes"]) == prediction.classes
        assert record["scores"] == pytest.approx(prediction.scores, abs=1e-6)
    assert errors == ""


def test_bad_files_are_named_and_the_others_answered(command, server, files, capsys):
    assert command(client_module, f"--server={server.address}", "--json", *files.values()) == 1
    output, errors = capsys.readouterr()
    assert [record["valid"] for record in records(output)] == [True, True, False, False, False]
    assert records(output)[2] == {"file": files["empty.jpg"], "valid": False, "labels": [], "classes": [], "scores": []}
    assert [line.partition(": ")[2].partition(": ")[0] for line in errors.splitlines()] == [
        files["empty.jpg"],
        files["missing.jpg"],
        files["large.jpg"],
    ]


def test_bad_files_alone_need_no_server(command, files, capsys):
    assert command(client_module, "--server=127.0.0.1:1", files["empty.jpg"]) == 1
    assert files["empty.jpg"] in capsys.readouterr().err


def test_more_files_than_a_request_holds_are_all_answered(command, server, files, capsys):
    paths = [files["red.jpg"]] * 15 + [files["empty.jpg"]] * 3 + [files["grün.jpg"]] * 20
    assert command(client_module, f"--server={server.address}", "--json", "--top_k=1", *paths) == 1
    found = records(capsys.readouterr().out)
    assert [record["file"] for record in found] == paths
    assert [record["labels"] for record in found] == [["red"]] * 15 + [[]] * 3 + [["grün"]] * 20


def test_the_table_shows_file_rank_class_and_score(command, server, files, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert command(client_module, f"--server={server.address}", "--top_k=1", files["grün.jpg"]) == 0
    output = capsys.readouterr().out
    with Client(server.address) as client:
        (result,) = client.classify([Path(files["grün.jpg"]).read_bytes()], top_k=1)
    for expected in ("file", "rank", "class", "score", files["grün.jpg"], "grün", f"{result.scores[0]:.4f}"):
        assert expected in output
    assert "grey" not in output


def test_names_with_brackets_are_shown_as_they_are(command, server, photograph, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "[bold]x[red].jpg"
    path.write_bytes(photograph((200, 40, 40)))
    assert command(client_module, f"--server={server.address}", str(path)) == 0
    assert path.name in capsys.readouterr().out


def test_features_are_a_vector_in_json_and_a_norm_in_the_table(command, server, files, capsys):
    arguments = (f"--server={server.address}", "--signature=features", files["red.jpg"], files["empty.jpg"])
    assert command(client_module, *arguments, "--json") == 1
    good, bad = records(capsys.readouterr().out)
    assert len(good["features"]) == 4096
    assert bad == {"file": files["empty.jpg"], "valid": False, "features": []}
    assert command(client_module, *arguments, "--nojson") == 1
    output = capsys.readouterr().out
    assert "(4096,)" in output
    assert f"{sum(value * value for value in good['features']) ** 0.5:.4f}" in output


def test_what_was_answered_is_shown_when_the_server_fails_on_the_way(capsys):
    record = {"file": "a.jpg", "valid": True, "labels": ["tench"], "classes": [0], "scores": [0.5]}
    with pytest.raises(ZeroDivisionError), output.table_printer() as show:
        show(record)
        raise ZeroDivisionError
    assert "tench" in capsys.readouterr().out


def test_csv_is_a_line_for_each_class_and_for_each_file_without(command, server, files, capsys):
    paths = [files["grün.jpg"], files["empty.jpg"], files["red.jpg"]]
    assert command(client_module, f"--server={server.address}", "--csv", "--top_k=2", *paths) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    with Client(server.address) as client:
        green, red = client.classify(paths[::2], top_k=2)
    expected = []
    for path, result in ((paths[0], green), (paths[1], None), (paths[2], red)):
        if result is None:
            expected.append((path, "false", "", "", "", "", ""))
            continue
        for rank in (0, 1):
            expected.append((path, "true", str(rank + 1), str(result.classes[rank]), result.labels[rank], "", ""))
    assert [tuple((row | {"score": ""}).values()) for row in rows] == expected
    assert [float(row["score"]) for row in rows if row["score"]] == pytest.approx(
        [*green.scores, *red.scores], abs=1e-6
    )
    assert list(rows[0]) == ["file", "valid", "rank", "class", "label", "score", "error"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--json", "--csv"], "json=true: expected no --csv"),
        (["--csv", "--signature=features"], "csv=true: --signature=features"),
        (["--signature=images"], "signature=images: .* not files; expected serving_default, center_crop or features"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(command, files, arguments, message):
    with pytest.raises(ValueError, match=message):
        command(client_module, *arguments, files["red.jpg"])


def test_folders_and_patterns_stand_for_their_files(command, server, photograph, tmp_path, capsys):
    for name in ("a.jpg", "deep/b.jpg", "c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(photograph((200, 40, 40)))
    arguments = (f"--server={server.address}", "--json", str(tmp_path), str(tmp_path / "*.txt"))
    assert command(client_module, *arguments) == 0
    shown, errors = capsys.readouterr()
    found = [record["file"] for record in records(shown)]
    assert found == [str(tmp_path / name) for name in ("a.jpg", "deep/b.jpg", "c.txt")]
    assert errors == f"ignored 1 files: {tmp_path}/c.txt (no image by its suffix)\n"


@pytest.mark.parametrize("concurrency, requests", [(1, 3), (3, 3), (20, 20)])
def test_files_are_asked_about_at_once(command, files, capsys, concurrency, requests):
    service = FakeService()
    paths = [files["red.jpg"], files["empty.jpg"], *[files["grün.jpg"]] * 38]
    with serving_at(service) as address:
        assert command(client_module, f"--server={address}", f"--concurrency={concurrency}", "--json", *paths) == 1
    assert [record["file"] for record in records(capsys.readouterr().out)] == paths
    assert len(service.requests) == requests
    assert service.most_at_once <= concurrency


def test_a_request_that_fails_does_not_end_it(command, files, capsys):
    service = FakeService()
    service.code, service.refuses = grpc.StatusCode.INTERNAL, lambda number: number == 2
    paths = [files["red.jpg"]] * 40
    with serving_at(service) as address:
        assert command(client_module, f"--server={address}", "--concurrency=1", "--json", *paths) == 1
    output, errors = capsys.readouterr()
    found = records(output)
    assert [record["file"] for record in found] == paths
    assert [record["valid"] for record in found] == [True] * 16 + [None] * 16 + [True] * 8
    assert "INTERNAL" in found[16]["error"] and found[16]["labels"] == [] and "error" not in found[0]
    assert errors == f"error: --{found[16]['error']}\n"


def test_files_that_were_not_answered_are_marked_in_csv_and_in_the_table(command, files, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    service = FakeService()
    service.code, service.refuses = grpc.StatusCode.INTERNAL, lambda number: number % 2 == 0
    paths = [files["red.jpg"], files["grün.jpg"]]
    with serving_at(service) as address:
        arguments = (f"--server={address}", "--concurrency=1", *paths[:1] * 16, paths[1])
        assert command(client_module, "--csv", *arguments) == 1
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert command(client_module, *arguments) == 1
        table = capsys.readouterr().out
    assert (rows[-1]["file"], rows[-1]["valid"], rows[-1]["class"]) == (paths[1], "", "")
    assert "INTERNAL" in rows[-1]["error"] and rows[0]["error"] == ""
    assert "no response" in table and paths[1] in table


@pytest.mark.parametrize("answered, requests", [(0, 1), (1, 4)])
def test_a_server_that_is_gone_is_not_asked_about_every_file(command, files, capsys, answered, requests):
    """Nor are the files read: the last one is empty."""
    service = FakeService()
    service.code, service.refuses = grpc.StatusCode.NOT_FOUND, lambda number: number > answered
    with serving_at(service) as address:
        arguments = (f"--server={address}", "--concurrency=1", "--json")
        assert command(client_module, *arguments, *[files["red.jpg"]] * 199, files["empty.jpg"]) == 1
    output, errors = capsys.readouterr()
    assert len(service.requests) == requests
    assert [record["valid"] for record in records(output)].count(True) == 16 * answered
    assert len(records(output)) == 200 and errors.count("\n") == 1


def test_no_file_is_an_error_that_shows_the_usage(command):
    with pytest.raises(ValueError, match=r"no image file given; expected python -m serving.client"):
        command(client_module)


@pytest.mark.parametrize("flag", ["--top_k=0", "--timeout_s=0", "--concurrency=0", "--version=-1"])
def test_values_out_of_range_are_refused(command, flag):
    with pytest.raises(flags.Error, match=flag.partition("=")[0]):
        command(client_module, flag, "a.jpg")


def test_dashes_keep_their_place_among_the_files(command, tmp_path, photograph, fake, capsys, monkeypatch):
    _, address = fake
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(photograph((200, 40, 40)))
    monkeypatch.setattr("serving.client.records._read", lambda file: b"x")
    assert command(client_module, f"--server={address}", "--json", f"{tmp_path}/a.jpg", "-", f"{tmp_path}/b.jpg") == 0
    assert [record["file"][-5:] for record in records(capsys.readouterr().out)] == ["a.jpg", "-", "b.jpg"]


RECORD = {"file": "=a\x1b[2J.jpg", "valid": True, "labels": ["@x\u202e", "b\x7f"], "classes": [0, 1]}


def test_strangers_names_reach_neither_terminal_nor_spreadsheet_as_more_than_text(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    record = RECORD | {"scores": [0.5, float("nan")]}
    failed = {"file": "+b", "valid": None, "labels": [], "classes": [], "scores": [], "error": "-1\r\n=2"}
    with output.csv_printer() as show:
        show(record)
        show(failed)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["file"], row["label"], row["score"], row["error"]) for row in rows] == [
        ("'=a\\x1b[2J.jpg", "'@x\\u202e", "0.5", ""),
        ("'=a\\x1b[2J.jpg", "b\\x7f", "", ""),
        ("'+b", "", "", "'-1\\r\\n=2"),
    ]
    with output.table_printer() as show:
        show(record)
    assert capsys.readouterr().out.replace("\n", "").isprintable()


@pytest.mark.parametrize("text", ["=1", "'=1", "  @x", "' +1", "\uff1d1", "\t=1"])
def test_cells_do_not_begin_as_formulas_and_are_found_again(text):
    cell = safe_text.spreadsheet_cell(text)
    assert cell[0] in "'\\"
    assert safe_text.cell_text(cell) == safe_text.printable(text)


def test_json_is_valid_whatever_the_numbers_are(capsys):
    output.print_json(RECORD | {"scores": [float("inf"), float("nan"), 0.5]})
    shown = capsys.readouterr().out
    assert shown.rstrip("\n").isprintable()
    parsed = json.loads(shown, parse_constant=pytest.fail)
    assert parsed == RECORD | {"scores": [None, None, 0.5]}
