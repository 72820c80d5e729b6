"""Where an analysis of pairs is computed."""

from overlap.pairwise.costs import Work, choose

SMALL = Work(variants=50, pairs=1225, examples=1000, methods=4, classes=10)
LARGE = Work(variants=1000, pairs=499_500, examples=50_000, methods=4, classes=10)


def test_a_ray_on_the_same_cores_is_never_worth_its_start():
    for work in (SMALL, LARGE):
        choice = choose(work, cores=2, cluster=False)
        assert not choice.ray
        assert "the same cores" in str(choice)


def test_a_cluster_is_worth_connecting_to_when_the_work_takes_longer_than_that():
    assert not choose(SMALL, cores=2, cluster=True).ray
    choice = choose(LARGE, cores=2, cluster=True)
    assert choice.ray
    assert str(choice).endswith("there")


def test_more_of_anything_costs_more():
    grown = [
        Work(variants=60, pairs=1225, examples=1000, methods=4, classes=10),
        Work(variants=50, pairs=2000, examples=1000, methods=4, classes=10),
        Work(variants=50, pairs=1225, examples=2000, methods=4, classes=10),
        Work(variants=50, pairs=1225, examples=1000, methods=5, classes=10),
        Work(variants=50, pairs=1225, examples=1000, methods=4, classes=100),
        Work(variants=50, pairs=1225, examples=1000, methods=4, classes=10, selection=True),
    ]
    assert all(work.core_s > SMALL.core_s for work in grown)
    assert Work(variants=50, pairs=1225, examples=1000, methods=0, classes=10).core_s < SMALL.core_s / 2
