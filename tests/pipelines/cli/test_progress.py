from pipelines.cli.progress import progress_bar


def test_the_progress_bar_counts_where_there_is_no_terminal(capfd):
    with progress_bar("train", 3, completed=1) as bar:
        bar.update()
        assert bar.completed == 2
        bar.update(3, status="loss 1")
    assert bar.completed == 3
    assert capfd.readouterr() == ("", "")
