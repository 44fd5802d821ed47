"""egs/frontier: a small run on real orders, with a base of random weights."""


def test_gain_and_forgetting_of_a_method(run_recipe, shared_data, random_base, tmp_path):
    options = ["--orders-corpus", str(shared_data / "barista_orders"), "--base", str(random_base)]
    options += ["--work-dir", str(tmp_path), "--size", "small", "--systems", "gated", "--seeds", "2"]
    done = run_recipe("frontier", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    names = [line.split(" | ")[:2] for line in done.stdout.splitlines() if line.startswith("| ")]
    systems = [["| gated", "0"], ["| gated", "0.6"]]
    assert [name for name in names if name in systems] == 3 * systems  # the means, of all seeds, of each kind
    assert "mean of seeds 1 to 2" in done.stdout
    assert (tmp_path / "exp/four_kinds_small/figures/frontier.svg").is_file()
    again = run_recipe("frontier", *options, "--systems", "head")
    assert again.returncode == 1 and "no system head" in again.stderr
