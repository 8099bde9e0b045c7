"Differences of maps from outside: what they must not depend on, what they must obey, and how often they are wrong."
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/"benchmarks"))
import map_worlds as w

from crmlab.core import CrmlabError
from crmlab.infer.heatmap_diff import heatmap_diff

COLUMNS = ["col", "row", "x0", "x1", "y0", "y1", "est", "lo", "hi", "p_diff", "flagged", "rate_a", "rate_b", "n_a", "n_b", "exposed_a", "exposed_b", "region"]
RAISED = "#category-1"


def map_of(seed, users=300, *, per_visit=3., a=None, b=None, raised=None, by=2.):
    rng = np.random.default_rng(seed)
    more = dict(share=w.popularity(raised, by)) if raised else {}
    return w.as_heatmap(w.people(rng, users, per_visit=per_visit, **(a or {})), w.people(rng, users, per_visit=per_visit, **(b or {}), **more))


def diff(heatmap, **more): return heatmap_diff(heatmap, **(dict(a="a", b="b") | more))


@pytest.fixture(scope="module")
def found(): return map_of(1, 600, raised=RAISED)


def test_the_frame_keeps_to_its_columns_and_counts_everything(found):
    r = diff(found)
    f = r.frame
    assert f.columns.tolist() == COLUMNS and f.flagged.dtype == bool and len(f) == w.ROWS*w.COLUMNS
    for side in "ab":
        assert f[f"n_{side}"].sum() == found.users.n[found.users.segment == side].sum()
        assert f[f"exposed_{side}"].max() == found.meta["visits"][side]
    known = f[f.est.notna()]
    assert ((known.lo <= known.est) & (known.est <= known.hi)).all() and known.p_diff.between(0, 1).all()
    np.testing.assert_allclose(known.est, known.rate_b/known.rate_a)
    assert (f.flagged == (f.region > 0)).all() and (f.p_diff[f.flagged] >= .95).all()
    assert ((f.lo[f.flagged] >= 1) | (f.hi[f.flagged] <= 1)).all()
    assert not (f.flagged & (f.lo < 1) & (f.hi > 1)).any()


def test_the_raised_element_is_found_named_and_drawn(found):
    import matplotlib
    matplotlib.use("agg")
    r = diff(found)
    first = r.regions.iloc[0]
    assert first["name"] == RAISED[1:] and first.lo > 1 and first.users > 10 and first.n >= first.users
    assert RAISED[1:] in r.text("en") and "クリック" in r.text("ja") and "有意" not in r.text("ja")
    assert r.plot() is not None


def test_turning_the_sides_turns_every_ratio(found):
    forth, back = diff(found).frame, diff(found, a="b", b="a").frame
    np.testing.assert_allclose(forth.est, 1/back.est, rtol=1e-6)
    np.testing.assert_allclose(forth.lo, 1/back.hi, rtol=1e-6)
    assert (forth.flagged == back.flagged).all()


def test_a_segment_does_not_differ_from_itself(found):
    r = diff(found, b="a")
    assert not r.frame.flagged.any() and not len(r.regions) and (r.frame.est.dropna() == 1).all()


def test_somebody_in_both_segments_is_one_person(found):
    "The same visits under two names differ in nothing, and certainly so: intervals shrink to 1."
    users, depths = (t[t.segment == "a"] for t in (found.users, found.depths))
    apart, same = map_of(1, 600), map_of(1, 600)
    shift = users.cluster.max() + 1
    vars(same).update(users=pd.concat([users, users.assign(segment="b")]), depths=pd.concat([depths, depths.assign(segment="b")]))
    vars(apart).update(users=pd.concat([users, users.assign(segment="b", cluster=users.cluster + shift)]), depths=pd.concat([depths, depths.assign(segment="b", cluster=depths.cluster + shift)]))
    wide = [(lambda f: (f.hi - f.lo).replace(np.inf, np.nan).median())(diff(m).frame) for m in (same, apart)]
    assert wide[0] < .5*wide[1]


def test_it_works_without_a_layout(found):
    bare = w.as_heatmap(*(w.people(np.random.default_rng(k), 600, per_visit=3., share=s) for k, s in ((5, None), (6, w.popularity(RAISED, 3.)))), boxes=w.layout()[:0])
    r = diff(bare)
    element = w.elements().set_index("selector").loc[RAISED]
    up = r.regions[r.regions.est > 1]
    assert ((up.x0 < (element.x + element.w)/w.PAGE_W) & (up.x1 > element.x/w.PAGE_W) & (up.y0 < element.y + element.h) & (up.y1 > element.y)).any()
    assert r.regions["name"].isna().all() and "px" in r.text("en")


def test_one_busy_person_and_three_people_make_nothing_certain():
    calm = map_of(7, 60)
    calm.users.loc[calm.users.index[0], "n"] = 10_000
    assert not diff(calm).frame.flagged.any()
    few = map_of(8, 60)
    few.meta["few"] = {"b": 3}
    r = diff(few)
    assert r.frame.lo.isna().all() and not r.frame.flagged.any() and "fewer than" in r.text("en")


@pytest.mark.parametrize("arguments, says", [(dict(b="B"), "b='B' is not a segment"), (dict(level=5), "level=5"), (dict(level="low"), "level='low'"), (dict(prob=95), "prob=95"), (dict(prob="x"), "prob='x'")])
def test_bad_arguments_are_refused_in_one_line(found, arguments, says):
    with pytest.raises(CrmlabError) as error: diff(found, **arguments)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_what_is_no_map_is_refused():
    with pytest.raises(CrmlabError, match="not NoneType"): diff(None)


def test_a_list_is_coloured_only_where_its_elements_differ():
    "One item of #items is raised: the list as a whole rises with it, its other items do not."
    r = diff(map_of(11, 2000, raised="#item-2", by=3.))
    boxes = w.elements().set_index("selector")
    up = r.frame[r.frame.flagged & (r.frame.est > 1)]
    def of(name): return up.x0.between(boxes.x[name]/w.PAGE_W, (boxes.x + boxes.w)[name]/w.PAGE_W) & up.y0.between(boxes.y[name], (boxes.y + boxes.h)[name])
    assert of("#item-2").any() and not any(of(f"#item-{k}").any() for k in (0, 1, 3))


@pytest.mark.parametrize("empty, told", [("a", "bだけ"), ("b", "aだけ")])
def test_where_only_one_side_acted_people_are_told_instead_of_a_ratio(empty, told):
    m = map_of(12, 600)
    header = w.elements().set_index("selector").loc["#hero-0"]
    inside = (m.users.segment == empty) & m.users.row.between(header.y//w.ROW, (header.y + header.h)//w.ROW)
    vars(m).update(users=m.users[~inside])
    r = diff(m)
    assert np.isin(r.regions.est, [0, np.inf]).any()
    ja, en = r.text("ja"), r.text("en")
    assert "∞" not in ja + en and "inf" not in ja + en and " 0倍" not in ja and "の0倍" not in ja
    assert told.replace("だけ", "の") in ja and "だけ" in ja and "in no visit of" in en
    import matplotlib
    matplotlib.use("agg")
    drawn = " ".join(t.get_text() for t in r.plot().texts)
    assert "∞" not in drawn and "inf" not in drawn


def test_a_screenshot_stays_readable_beneath_a_flagged_region(found, tmp_path):
    import matplotlib
    matplotlib.use("agg")
    from dataclasses import replace

    from matplotlib.image import imsave
    imsave(tmp_path/"page.png", np.zeros((30, 12, 3)))
    meshes = [c for c in replace(diff(found), picture=tmp_path/"page.png").plot().collections if type(c).__name__ == "QuadMesh"]
    assert meshes and all(c.get_alpha() <= .6 for c in meshes)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_places_where_nothing_can_be_said_warn_nobody():
    quiet = map_of(13, 40)
    diff(quiet).text("en")
    diff(w.as_heatmap(*(w.people(np.random.default_rng(k), 40, per_visit=.01) for k in (1, 2)))).text("en")


@pytest.mark.parametrize("a, b", [({}, {}), (dict(visits=1.5), dict(visits=3.)), (dict(depth=300.), dict(depth=1500.))], ids=["alike", "visits", "depth"])
def test_where_behaviour_is_the_same_hardly_anything_is_flagged(a, b):
    "20 worlds a null; at 5 % four flags or fewer come in 99.7 % of such blocks."
    assert sum(diff(map_of(4000 + k, 200, a=a, b=b)).frame.flagged.any() for k in range(20)) <= 4
