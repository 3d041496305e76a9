"""Two hundred actions of many kinds, none of which may show where and when it was run."""

from __future__ import annotations

from typing import NamedTuple


class SampleAction(NamedTuple):
    """One edge. ``{out}`` in the command is its output."""

    name: str
    command: str
    inputs: tuple[str, ...] = ()


SOURCES = {
    "src/a.c": """
        #include <stdio.h>
        #include "inc/value.h"
        static const char *names[] = { __FILE__, __DATE__, __TIME__, __TIMESTAMP__ };
        int twice(int x) { return 2 * x + VALUE; }
        int main(void) { printf("%s %d\\n", names[0], twice(4)); return 0; }
        """,
    "src/b.cc": """
        #include <cstdio>
        namespace { struct Hidden { int x; Hidden *next; }; Hidden table[3]; }
        template <class T> int size_of(T const &) { return sizeof(T); }
        int use() { table[1] = Hidden{1, table}; return size_of(table) + [] { return std::puts(__DATE__); }(); }
        """,
    "src/c.S": '.globl c\n.data\nc: .asciz "c"\n.incbin "src/data/one.txt"\n',
    "src/inc/value.h": "#define VALUE 7\n",
    "src/data/one.txt": "one\nzwei\nÄpfel\n",
    "src/data/two.txt": "2\n10\n1\n",
    "src/data/sub/three.txt": "three\n",
    "src/module.py": "import json\nVALUES = {'a', 'b', 'c', 'd', 'e'}\n",
    "src/show.py": """
        import module, sys
        print(list(module.VALUES), hash("text"), sys.argv[0], module.__file__[-13:], sys.flags.hash_randomization)
        """,
}

_COMPILES = {
    "c": (
        "gcc",
        "src/a.c",
        ("", "-O2", "-g", "-g3 -O1", "-g -gdwarf-4", "-fPIC -g", "-O3 -flto -frandom-seed=a", "-frecord-gcc-switches"),
    ),
    "cc": ("g++", "src/b.cc", ("", "-O2", "-g", "-g -O2 -fPIC", "-std=c++20 -g1", "-fno-rtti -ffunction-sections")),
    "S": ("gcc", "src/c.S", ("", "-g", "-Wa,--gdwarf-5")),
}

_SHELL = (
    "id",
    "id -Gn",
    "whoami",
    "groups",
    "hostname",
    "uname -n",
    "uname -s -m",
    "env | sort | tr / _",
    "umask",
    "umask -S",
    "pwd | tr / _",
    "pwd -P | tr / _",
    "locale",
    "echo ~ $USER_OF_NOBODY $RANDOM",
    "ls ~ | wc -l",
    "tty || true",
    "date -r src/a.c",
    "date -r src --iso-8601=ns",
    "date -d @1234567890",
    "date -d @1234567890 +%c%Z",
    "date -d @$SOURCE_DATE_EPOCH",
    "date -d 2020-06-01 +%s",
    "stat -c '%n %F %a %A %u %U %g %G %s %Y %y' src/a.c src/show.py",
    "stat -c '%n %F %a %u %g %y' src src/data src/data/sub src/inc",
    "find src -printf '%p %M %U %G %t\\n' | sort",
    "ls -lR --time-style=full-iso src | sed -E 's/^([^ ]+) +[0-9]+/\\1/; /^total/d'",
    "touch fresh && stat -c '%a %u %g' fresh",
    "mkdir made && stat -c '%a %u %g' made && rmdir made",
    "ls /",
    "ls -A /tmp | wc -l",
    "cat /etc/passwd /etc/group /etc/hosts /etc/nsswitch.conf",
    "stat -c '%n %a %u %g %Y' /etc/passwd /etc/group /etc/hosts",
    "getent passwd 1000",
    "getent passwd zbuild",
    "cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname",
    "readlink /proc/self/cwd | tr / _",
    "readlink /proc/self/root",
    "ls /proc/self/fd | wc -l",
    "tr '\\0/' '\\n_' < /proc/self/environ | sort",
    "grep -E '^(Uid|Gid|Umask|Cap|NoNewPrivs|Sig)' /proc/self/status",
    "cat /proc/self/cmdline | tr '\\0' ' '",
    "cat /proc/self/oom_score_adj | wc -l",
    "ls /dev | sort",
    "sort src/data/one.txt",
    "sort src/data/two.txt",
    "printf 'b\\nA\\na\\nB\\n' | sort",
    "printf '%.2f\\n' 1.5",
    "printf 'Ä' | wc -m",
    "ls src | tr a-z A-Z",
    "echo src/data/*",
    "grep -c [[:upper:]] src/data/one.txt",
    "ulimit -c",
    "ulimit -s; ulimit -n",
    "ulimit -a | grep -v process",
    "sh -c 'kill -SEGV $$'; ls -A | grep -c '^core' || true",
    "nice; cat /proc/self/coredump_filter",
    "cat /proc/self/setgroups /proc/self/uid_map /proc/self/gid_map | tr -s ' ' | cut -d ' ' -f 2,4",
    "sha256sum src/a.c src/data/*.txt",
    "cksum src/b.cc",
    "od -c src/data/one.txt",
    "diff -u src/data/one.txt src/data/two.txt | tail -n 3",
    "wc src/a.c",
    "awk 'BEGIN { print ENVIRON[\"TZ\"], 1/3 }'",
    "sed -n 2p src/data/one.txt",
    "base64 src/data/one.txt",
    "gzip -c src/data/one.txt",
    "gzip -9 -c < src/data/one.txt",
    "tar cf - --sort=name src",
    "tar czf - --sort=name src",
    "tar cf - --format=ustar src/a.c src/b.cc",
    "tar cf - --format=gnu --numeric-owner src/data/one.txt",
    "tar cf - --sort=name src | tar tvf -",
    "gcc --version",
    "gcc -dumpmachine",
    "gcc -E -dM src/inc/value.h | sort",
    "gcc -v -E src/inc/value.h 2>&1 | tr / _",
    "ld --version",
    "as --version",
    "perl -e 'my %h = map { $_ => 1 } 1..50; print join(q( ), keys %h), qq(\\n)'",
    "perl -e 'print scalar(localtime(86400)), qq(\\n); print $0, qq(\\n)'",
    "perl -MPOSIX -e 'print setlocale(LC_ALL), qq(\\n), strftime(q(%A), gmtime(0))'",
)  # fmt: skip  # one command a line

_PYTHON = (
    "print({str(n) for n in range(40)})",
    "print([hash(str(n)) for n in range(5)])",
    "import os; print(sorted(os.listdir('src')))",
    "import os; print(os.getcwd()[1:], os.path.expanduser('~'), os.getuid(), os.getgid(), os.getgroups())",
    "import os; print(str(sorted(os.environ.items())).replace('/', '_'))",
    "import os; print(os.umask(0))",
    "import os; print(os.stat('src/a.c').st_mtime_ns, oct(os.stat('src/a.c').st_mode), os.stat('src').st_mtime_ns)",
    "import tempfile; print(tempfile.gettempdir())",
    "import locale; print(locale.getpreferredencoding(), locale.setlocale(locale.LC_ALL, ''))",
    "import time; print(time.tzname, time.timezone, time.ctime(0), time.strftime('%c', time.localtime(10**9)))",
    "import datetime; print(datetime.datetime.fromtimestamp(10**9), datetime.datetime.fromtimestamp(0).astimezone())",
    "import socket; print(socket.gethostname())",
    "import platform; print(platform.node(), platform.system(), platform.machine(), platform.python_version())",
    "import getpass; print(getpass.getuser())",
    "import sys; print(sys.argv, sys.path, sys.executable, sys.stdin.encoding, sys.stdout.encoding)",
    "import sys; print(sys.getfilesystemencoding(), sys.flags)",
    "import pickle, sys; sys.stdout.buffer.write(pickle.dumps({'x', 'y', 'z', 'w'}))",
    "import json; print(json.dumps(list({'x', 'y', 'z', 'w'})))",
    "import uuid; print(uuid.uuid5(uuid.NAMESPACE_DNS, 'zbuild'))",
    "import random; random.seed('x'); print(random.random())",
    "import glob; print(sorted(glob.glob('src/**', recursive=True)))",
    "import sysconfig; print(sysconfig.get_paths())",
    "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))",
    "import resource; print([resource.getrlimit(n)[0] for n in (resource.RLIMIT_STACK, resource.RLIMIT_NOFILE)])",
    "import os; print(os.get_terminal_size.__name__, os.isatty(0), os.isatty(1), os.getpgid(0) == os.getsid(0))",
    "import signal; print([str(signal.getsignal(n)) for n in (1, 2, 13, 15)])",
    "import zlib; print(zlib.crc32(b'x'), __file__ if '__file__' in globals() else '')",
    "import this",
    "import os; print(len(os.listdir('/tmp')), os.path.realpath('src')[1:])",
)

_ARCHIVES = (
    ("py_compile", "python3 -c \"import py_compile; py_compile.compile('src/module.py', '{out}')\""),
    (
        "py_hash_compile",
        "python3 -m compileall -q -b --invalidation-mode checked-hash -d x src/module.py >{out} 2>&1; true",
    ),
    ("py_zip", "python3 -m zipfile -c {out} src/a.c src/b.cc src/data"),
    ("py_tar", "python3 -m tarfile -c {out} src/a.c src/data/one.txt"),
    ("py_gzip", "python3 -c \"import gzip, sys; sys.stdout.buffer.write(gzip.compress(b'x', mtime=0))\" >{out}"),
    ("py_zipapp", "python3 -c \"import zipfile; z = zipfile.ZipFile('{out}', 'w'); z.write('src/show.py')\""),
    ("py_import", "python3 src/show.py >{out}"),
    ("copy", "cp -p src/a.c {out} && stat -c %y {out} >> {out}"),
    ("install", "install -m 755 src/show.py {out}"),
    ("symlink", "ln -s src/a.c {out}"),
    ("cmp", "cp src/a.c one && cp src/a.c two && cmp one two && touch -r src/a.c one && tar cf {out} one"),
)


def actions() -> list[SampleAction]:
    """All of them; later ones read what earlier ones make."""
    made = [
        SampleAction(f"{kind}{number}.o", f"{driver} {flags} -Isrc -c {source} -o {{out}}", (source,))
        for kind, (driver, source, variants) in _COMPILES.items()
        for number, flags in enumerate(variants)
    ]
    objects = [action.name for action in made if not action.name.startswith("c6")]
    made += [
        SampleAction(f"{name}.ii", f"gcc -Isrc -E src/{name} -o {{out}}", (f"src/{name}",)) for name in ("a.c", "c.S")
    ]
    made += [
        SampleAction(f"{name}.s", f"gcc -g -Isrc -S src/{name} -o {{out}}", (f"src/{name}",))
        for name in ("a.c", "b.cc")
    ]
    made += [
        SampleAction("split.o", "gcc -g -gsplit-dwarf -Isrc -c src/a.c -o {out}", ("src/a.c",)),
        SampleAction("plain.o", "as src/c.S -o {out}", ("src/c.S", "src/data/one.txt")),
    ]
    for operation in ("rcs", "rcsD", "rcST", "qc"):
        made.append(SampleAction(f"lib{operation}.a", f"ar {operation} {{out}} c1.o S1.o", ("c1.o", "S1.o")))
    for flags in (
        "",
        "-g",
        "-Wl,--build-id=sha1",
        "-Wl,--build-id=uuid -Wl,--build-id=md5",
        "-static-libgcc",
        "-s",
        "-flto",
    ):
        made.append(SampleAction(f"app{len(made)}", f"gcc {flags} c2.o -o {{out}}", ("c2.o",)))
    made += [
        SampleAction("lib.so", "g++ -shared cc3.o -o {out}", ("cc3.o",)),
        SampleAction("joined.o", "ld -r c1.o S1.o -o {out}", ("c1.o", "S1.o")),
    ]
    for program in ("nm", "size", "readelf -aW", "objdump -dr", "strings", "readelf --debug-dump=info"):
        for name in ("c2.o", "cc2.o"):
            made.append(SampleAction(f"{program.split()[0]}{len(made)}", f"{program} {name} >{{out}}", (name,)))
    for name in objects[:16]:
        made.append(SampleAction(f"{name}.stripped", f"strip -g {name} -o {{out}}", (name,)))
        made.append(SampleAction(f"{name}.copied", f"objcopy --compress-debug-sections {name} {{out}}", (name,)))
    made += [SampleAction(name, command, ("src/a.c",)) for name, command in _ARCHIVES]
    made += [SampleAction(f"shell{n}", f"{{{{ {text}; }}}} >{{out}}") for n, text in enumerate(_SHELL)]
    made += [SampleAction(f"python{n}", f'python3 -c "{text}" >{{out}}') for n, text in enumerate(_PYTHON)]
    return made


def manifest() -> str:
    """The edges as build.ninja has them."""
    lines = ["rule run\n  command = $cmd\n"]
    for action in actions():
        command = action.command.replace("{{", "{").replace("}}", "}").replace("{out}", action.name)
        lines.append(f"build {action.name}: run {' '.join(action.inputs)}")
        lines.append(f"  cmd = {command.replace('$', '$$')}")
    return "\n".join(lines) + "\n"
