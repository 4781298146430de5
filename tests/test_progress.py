"""Progress where stderr is no terminal."""

from simulations.progress import Lines, progress_bar


def test_off_a_terminal_a_plain_line_at_most_every_half_minute(capsys):
    times = iter([0.0, 10.0, 29.0, 31.0, 45.0, 60.0, 62.0])
    bar = Lines(total=12, desc="training", unit="step", initial=2, clock=lambda: next(times))
    for _ in range(6):
        bar.update()
    told = capsys.readouterr().err
    assert told == (
        "training: 5 of 12 (step) after 31 s, about 72 s left\ntraining: 8 of 12 (step) after 62 s, about 41 s left\n"
    )


def test_what_is_short_says_nothing_and_loses_nothing(capsys):
    assert list(progress_bar(range(3), desc="scoring", unit="batch")) == [0, 1, 2]
    assert list(progress_bar(range(3), desc="scoring", unit="batch", show=False)) == [0, 1, 2]
    assert capsys.readouterr().err == ""
