"""Mapping a text to the sandbox's spelling and back changes nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from zbuild.inputs.roots import Roots

LAYOUTS = [
    Roots("/home/u/p", "/home/u/p/build"),
    Roots("/home/u/p", "/home/u/p/out/rel"),
    Roots("/home/u/p", "/home/u/b"),
    Roots("/home/u/p", "/scratch/deep/er/b"),
    Roots("/home/u/p", "/home/u/p"),
    Roots("/home/u/b/src", "/home/u/b"),
    Roots("/home/u/my p", "/home/u/my p/b"),
]

NAMES = st.sampled_from(
    ["a.c", "include", "src", "build", "x-1", "p", "b", "p2", "out", "rel", "zb", "é", "lib.so.1", "..."]
)

ANCHORS = st.sampled_from(
    ["/home/u/p", "/home/u/p/build", "/home/u/p/out", "/home/u/p/out/rel", "/home/u/b", "/scratch/deep/er/b", "/home/u"]
    + ["/usr/include", "/home/u/b/src", "/home/u/my p/b", "../p", "../b", "..", "../..", "sub", ".", "/", ""]
)

DELIMITERS = st.sampled_from(
    [
        " ",
        "\n",
        '"',
        "'",
        "=",
        ",",
        ":",
        ";",
        "(",
        ")",
        r"\"",
        " -I",
        " -L",
        " -isystem",
        " @",
        " -DX=",
        " -Wl,-rpath,",
        "`",
        "|",
    ]
)

WORDS = st.one_of(
    st.builds(lambda anchor, names: "/".join([anchor, *names]), ANCHORS, st.lists(NAMES, max_size=3)),
    st.text(alphabet="ab/._-+~ \t\n\"'\\=,:;@", max_size=12),
    st.text(max_size=8),
)

TEXTS = st.lists(st.tuples(DELIMITERS, WORDS), max_size=12).map(lambda pairs: "".join(a + b for a, b in pairs))


def leads_out(roots: Roots, text: str) -> bool:
    """Whether a relative path of the text leaves both roots: such a one becomes absolute, and stays so."""
    mapped = roots.map_command(text)
    return text.count("..") != mapped.count("..")


@given(st.sampled_from(LAYOUTS), TEXTS)
def test_mapping_and_unmapping_is_the_identity(roots: Roots, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    text = data.decode("utf-8", "surrogateescape")
    if "/zb" in text or "zb-build" in text or leads_out(roots, text):
        return
    assert roots.unmap_output(roots.map_command(text).encode("utf-8", "surrogateescape")) == text.encode(
        "utf-8", "surrogateescape"
    )


@given(
    st.sampled_from(LAYOUTS),
    ANCHORS.filter(lambda path: path.startswith("/") and path != "/"),
    st.lists(NAMES, max_size=4),
)
def test_paths_map_one_to_one(roots: Roots, anchor: str, names: list[str]) -> None:
    path = "/".join([anchor, *names])
    assert roots.to_user(roots.to_canonical(path)) == path


@given(st.sampled_from(LAYOUTS), st.lists(NAMES, max_size=3))
def test_a_mapped_path_is_the_canonical_one(roots: Roots, names: list[str]) -> None:
    for root in (roots.source_root, roots.build_dir):
        path = "/".join([root, *names])
        assert roots.map_command(f'"{path}"') == f'"{roots.to_canonical(path)}"'


@given(st.sampled_from(LAYOUTS), TEXTS)
def test_nothing_of_the_users_roots_is_left(roots: Roots, text: str) -> None:
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    mapped = f" {roots.map_command(text)} "
    for root in (roots.source_root, roots.build_dir):
        assert f" {root} " not in mapped
        assert f" -I{root}/" not in mapped
        assert f'"{root}"' not in mapped
