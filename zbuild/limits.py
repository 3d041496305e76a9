"""Every bound of zbuild, in one place, each with its reason."""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

CONTROL_MESSAGE_BYTES = 4 * MIB
"""One control message. An action with 10,000 inputs of 100 B paths is 1.4 MiB; the rest is room for batching."""

ACTION_BYTES = CONTROL_MESSAGE_BYTES - 64 * KIB
"""One encoded action: the rest of a message is for its lease. ACTION_INPUTS of 100 B paths are 2.8 MiB."""

RESULT_BYTES = CONTROL_MESSAGE_BYTES - 64 * KIB
"""One encoded result: the rest of a message is for its lease. It names about 30,000 outputs of 80 B paths."""

BATCH_BYTES = 512 * KIB
"""Actions are batched into one message up to here: beyond it batching gains nothing and delays the first action."""

BATCH_ACTIONS = 256
"""Actions of one message: as many as the longest worker queue."""

ACTION_INPUTS = 20_000
"""Inputs of one action. A larger one is refused by name: its staging would take seconds."""

STAGED_DIRECTORIES = 50_000
"""Directories of one stage, with all they lie in. Without a bound one message could ask for millions: its paths may
have 1,500 components each."""

SESSIONS = 4096
"""Peers of one broker: 1,000 workers and 3,000 clients."""

QUEUED_ACTIONS = 200_000
"""Actions that wait in the broker. At 5 KB each this is 1 GB; a client holds further ones back."""

ATTEMPTS_BY_PRIORITY = {0: 2, 50: 3, 100: 4, 200: 5}
"""Attempts of an action whose worker or store fails, by Priority: the seed's MAX_RETRIES table."""

ONE_WORKER_FACTOR = 2
"""How many times as many attempts an action has while one worker has failed all of them. Beside a sound worker that is
busy, a broken one with free slots is given the action again and again: FAILURE_THRESHOLD failures in a row close it,
and must leave attempts for the sound one, of those of the lowest priority, too (2 * 2 > 3)."""

PROPERTY_VALUE_BYTES = 4 * KIB
"""A platform property's name or value: a path has at most 4,096 B, PATH_MAX of Linux."""

PLATFORM_CLASSES = 4096
"""Distinct sets of required properties that the broker keeps queues for; idle ones are dropped beyond it."""

CLASS_WORKERS = 500_000
"""Platform classes times workers, beyond which idle classes are dropped, too: what a class keeps of a worker that can
run its actions takes 350 B, so this is 175 MB, for 500 classes on 1,000 workers."""

STALE_ENTRIES = 1024
"""Entries of a queue whose actions were given up. Beyond this, and more than the live ones, they are swept out."""

STALE_WORKER_ENTRIES = 64
"""Entries of workers that have changed since, in one heap. Beyond this, and more than the live ones, they are swept
out: some 5 KB."""

WORKER_CHANGES = 8192
"""Changes of workers that are listed for the platform classes, which take them in when they are asked next; the last
half is always there. That is SESSIONS: a class that is further behind looks at each of its workers once, which is
less."""

PREFETCH_S = 0.1
"""Seconds of expected work that a worker may hold beyond its slots, each slot counted.

A round trip and the fetching of inputs take 1 to 20 ms, so this hides them five times over."""

ELIGIBILITY_GRACE_S = 2.0
"""After its start, and after a worker has left, a broker waits this long before it says that no worker can ever
run an action: workers reconnect, and a supervisor restarts one that died within a second."""

PROPERTY_QUERY_REPEAT_S = 5.0
"""A property query that is not answered is repeated after this; a first fingerprint takes about a second."""

CLIENT_TIMEOUT_S = 9.0
"""A client that is silent for more than three keepalives is gone. Its actions are cancelled within 10 s of its
last word, the tick and the revocation included."""

KEEPALIVE_INTERVAL_S = 2.5
"""A client tells what it awaits this often: it bounds how long a lost message stays unnoticed."""

UNKNOWN_ACTIONS = 50_000
"""Actions that one answer to a keepalive asks for again: 1.7 MB of ids. The next keepalive asks for the rest."""

UNSTARTED_REPEAT_S = 1.0
"""Hello is repeated after this until it is answered."""

REFUSALS_IN_A_ROW = 8
"""Messages that the broker could not read, with no sign in between that it can read any. Damage on the way is rare
and costs a repeat; a peer that speaks another language is refused each time, and ends after 8 to 20 s."""

BLOB_CHUNK_BYTES = 1 * MIB
"""One data frame of a blob. From 256 KiB up throughput is flat; larger frames delay small blobs behind them."""

BLOB_MESSAGE_PARTS = 63
"""Parts of one blob message: with its header a message has at most 64 frames."""

BLOB_MESSAGE_BYTES = BLOB_CHUNK_BYTES + 64 * KIB
"""One frame of a blob message: a chunk, or a header of 63 parts or 1,024 digests (45 B each)."""

FIND_MISSING_DIGESTS = 1024
"""Digests of one question to the store: 45 KB, about 3 ms of stat calls."""

TRANSFER_WINDOW = 8
"""Requests in flight from one peer to the store: the credit. 8 MiB fill a 1 Gbit/s link for 60 ms."""

TRANSFER_TIMEOUT_S = 30.0
"""A request to the store that is unanswered for so long has failed: 8 MiB take 7 s at 10 Mbit/s."""

PEER_BLOB_TIMEOUT_S = 2.0
"""A request to another worker's blobs that is unanswered for so long is given up, and the farm's store is asked: a
worker answers within 10 ms, and 8 MiB in 2 s are a third of 100 Mbit/s. A slower peer gains nothing over the store."""

PEER_BLOB_BACK_OFF_S = 10.0
"""A worker that did not answer, or broke the protocol, is not asked for blobs for so long: each time would cost the
action that waits PEER_BLOB_TIMEOUT_S. A worker that restarts is back in 1 s, a lost one is known to be within 30 s."""

PEER_BLOB_LINKS = 16
"""Other workers that one worker fetches blobs from at once: a socket and three descriptors each. An action that would
need one more gets its inputs from the farm's store; links that nobody waits for make room before."""

PEER_BLOB_IDLE_S = 30.0
"""A link to another worker's blobs that nothing was asked of for so long is closed: opening one takes 1 ms."""

PEER_BLOB_REQUESTS = 4
"""Requests for its blobs that a worker answers before it turns to its own leases again: at most 4 MiB read from the
disk, 2 ms when they are in memory, or 4,096 stat calls, 12 ms."""

PEER_BLOB_REQUEST_BYTES = 64 * KIB
"""One frame of a request for a worker's blobs: FIND_MISSING_DIGESTS take 45 KB, and nothing is uploaded to it."""

PEER_BLOB_MESSAGES = 2 * TRANSFER_WINDOW
"""Messages in one direction of one link between two workers' blobs: a peer that keeps to its window has half as many,
and one that asks and does not read holds at most 16 MiB of its victim's memory."""

PEERS_BACKING_OFF = 1024
"""Workers that are remembered as not answering: as many as a worker has peers."""

UPLOADS_PER_PEER = 64
"""Blobs that one peer may be in the middle of uploading: it sends one after the other, so few are needed."""

UPLOAD_IDLE_S = 60.0
"""An upload that nothing was added to for so long, or for twice as long, was cut short. A chunk takes 1 s at 10 Mbit/s;
its sender gives up after TRANSFER_TIMEOUT_S."""

ACTION_CACHE_ENTRIES = 500_000
"""Results kept. At about 400 B each the file stays near 200 MB, and the least recently used go first."""

ACTION_CACHE_KEEP = 0.8
"""Eviction goes down to this share, the seed's figure, so that it runs once in 100,000 results and not with each."""

HEARTBEAT_BYTES = 1 * KIB
"""One heartbeat: the seed's bound."""

SOCKET_HIGH_WATER_MARK = 10_000
"""Messages in one direction of one socket. Credit is the flow control; this only stops a peer that ignores it."""

SOCKET_LINGER_MS = 500
"""How long a closing socket may still send: a Goodbye and a last result on a LAN take a millisecond."""

SOCKET_HANDSHAKE_MS = 5_000
"""A connection that has not completed ZeroMQ's handshake by then is dropped."""

SOCKET_HEARTBEAT_MS = 5_000
"""ZeroMQ's own PING interval, for peers that vanish without closing: cables, power, firewalls."""

SOCKET_TIMEOUT_MS = 20_000
"""Silence after which ZeroMQ closes the link: four PINGs. It stays below 65 s, where libzmq #4226 begins."""

RECEIVE_BATCH = 512
"""Messages that a shell takes from one socket before it looks at the others."""

MAX_FILE_DIGESTS = 100_000
"""Entries of the file digest cache. At about 170 B each the file stays below 17 MB and loads in about 40 ms."""

FILE_READ_ATTEMPTS = 5
"""Readings of a file whose size or times change meanwhile. One that is still being written after five is an error."""

BROKER_TICK_S = 0.5
"""How often the broker judges who is silent and what cannot be placed; time-outs are 10 s and more."""

REPORT_INTERVAL_S = 5.0
"""A worker reports what it holds this often, the seed's heartbeat interval.

It bounds how long a lost lease stays lost."""

DRAIN_REPORTS = 3
"""Unanswered reports after which a worker that drains keeps its results no longer: the broker is gone, too.

From 3 s when it was never welcome to 15 s; systemd kills after 90 s."""

PROPERTY_QUERY_NAMES = 256
"""Properties of one question: a project links at most a few dozen system libraries."""

NINJA_INCLUDE_DEPTH = 100
"""How deep manifests may include each other. Generators nest 2 or 3 deep; a file that includes itself must end."""

NINJA_TEXT_CHARS = 64 * MIB
"""The longest text that variables may expand to. The kernel takes 128 KiB as one argument (MAX_ARG_STRLEN); only
an rspfile is longer. Twenty-six variables that each double the one before reach this from one character."""

LOG_LINE_BYTES = 4 * KIB
"""One line of a daemon's log, its newline included: what a pipe takes in one piece (PIPE_BUF), so lines never mix."""

QUARANTINE_FILES = 64
"""Corrupt blobs kept for a post-mortem; the oldest go first, so that a failing disk cannot fill itself with them."""

USES_BATCH = 512
"""Uses of blobs noted before their access times are written: 512 utime calls of 5 us are 2.5 ms."""

USE_RESOLUTION_S = 600.0
"""A blob's access time is written at most this often: eviction orders by hours, a build uses a header every 50 ms."""

EVICTION_KEEP = 0.8
"""Eviction goes down to this share of the capacity, the seed's figure, so that it runs once per fifth of it."""

EVICTION_STEP_BLOBS = 256
"""Blobs that an eviction looks at or removes before the store or the worker answers again: 1 ms."""

SHELL_NESTING = 8
"""Command substitutions inside one another; build files have one or two."""

SHELL_COMMANDS = 10_000
"""Simple commands of one command line. ARG_MAX (2 MiB) leaves room for far more; nobody writes them."""

GREEN_SAFETY_TICK_S = 1.0
"""A greenlet that owns ZeroMQ sockets looks at them this often even if no edge came: the cost of a lost edge."""

TOOLCHAIN_RECHECK_S = 2.0
"""A worker looks for changes of its tools in place while it works, but not more often than this: 25 to 40 ms of CPU."""

TOOLCHAIN_STALE_S = 10.0
"""After so long without a look the next action waits for one: whoever upgrades a compiler does it between builds."""

PROPERTY_FRESH_S = 2.0
"""A worker's word that it does not have what an action requires counts for so long, then it is asked again."""

LINUX_PATH_BYTES = 4 * KIB - 1
"""The longest path that the kernel takes: PATH_MAX of linux/limits.h, without the terminating NUL."""

STAGED_PATH_BYTES = 3 * KIB
"""A path of an action. The rest of LINUX_PATH_BYTES is for the place of the stage on the worker's disk."""

FILE_NAME_BYTES = 255
"""One component of a path: NAME_MAX of Linux."""

COLLECTED_FILES = 50_000
"""Files and symlinks of one action's outputs, and directories, counted below the directories that it declares."""

COLLECTED_DEPTH = 128
"""Directories inside one another below an output that is a directory. Each is opened from the top: 50,000 at this
depth take 5 s, in which the worker does nothing else."""

LEFTOVER_FILES = 1000
"""Files that a command left and no output declares, as a result names them: generators make dozens. More than that is
the contents of an archive, or a build within the build."""

NAMES_IN_MESSAGE = 20
"""How many missing files one message lists; the rest is a count."""

RESPONSE_FILE_NESTING = 8
"""``@file`` inside ``@file``; gcc stops at 2,000, and nobody writes more than two."""

DAEMON_START_S = 20.0
"""How long a process that zbuild starts may take until it is ready: 0.1 s as a rule, seconds on a loaded machine."""

ENDPOINT_BYTES = 512
"""An endpoint as text: a Unix socket path has at most 107 bytes, a host name 253."""

MAX_SOURCE_FACTS = 100_000
"""Scanned files that are remembered by content. At about 250 B each the file stays near 25 MB."""

SPAWN_MESSAGE_BYTES = 4 * MIB
"""One message to or from the spawner: the kernel takes 2 MiB of arguments and environment, the rest is room."""

SPAWN_INLINE_OUTPUT_BYTES = 64 * KIB
"""What a command has written comes back in the message up to here, and in a file beyond it.

Most commands write nothing."""

SPAWN_OUTPUT_BYTES = 64 * MIB
"""What one command may write to stdout, and to stderr. It is then killed: a flood fills a disk at 1 GB/s."""

COMMAND_WATCH_S = 0.1
"""How often a running command is held against its limits. Most commands are over before the first look."""

SEEN_PROCESSES = 4096
"""Processes of one command without a bound that are looked at for their memory: 20 us each."""

COMMAND_CORE_BYTES = 1
"""No core file: none is so small. And no helper program for one: 1 is the limit at which the kernel does not start what
/proc/sys/kernel/core_pattern names, outside every sandbox; 0 would not keep it from that (core(5), fs/coredump.c)."""

COMMAND_STACK_BYTES = 8 * MIB
"""Linux's own default. How deep a program may recurse must not depend on the worker."""

COMMAND_OPEN_FILES = 4096
"""Above the usual 1,024, which large links reach; far below the million of containers, up to which some programs close
every descriptor before they start another."""

DISK_WATCH_S = 5.0
"""A command's files are measured this often, and sooner when enough was written for them to be too many."""

DISK_LOOK_S = 0.02
"""How long a look at a running command goes on measuring its files: some 6,000.
The spawner does nothing else meanwhile."""

COMMAND_FILES = 500_000
"""Files and directories that one command may have in its writable directory where its disk space is bounded: an
unpacked kernel has 90,000. Empty files take no space, and a usual file system of 250 GB has 16 million inodes."""

BRANCHING_DEPTH = 64
"""Directories with several directories in them, one inside the other; each is a descriptor while a tree is measured.
The deepest trees of package managers have some 30."""

ACTION_PROCESSES = 4096
"""Processes and threads of one action unless the worker says otherwise: a linker has one thread per processor."""

ACTION_DISK_BYTES = 64 * GIB
"""Files of one action unless the worker says otherwise: the largest build directories, in one action."""

MEMORY_SHARE = 0.9
"""Of a machine's memory, what one action gets when nobody sets a bound: the rest keeps the worker answering."""

PRIVATE_SHARE = 0.5
"""Of an action's memory, what its /tmp may hold: the kernel's own default for a tmpfs."""

SPAWNS_RUNNING = 192
"""Commands at once. Each needs three descriptors: with SANDBOXES_HELD 832, and the usual soft limit is 1,024."""

SANDBOXES_HELD = 64
"""Sandboxes that are set up and wait, with four descriptors and 2 MB each. Those beyond are set up in their turn."""

SPAWNER_RECEIVE_BYTES = 64 * KIB
"""What spawner and worker take of each other's messages at once. For a buffer of 128 KiB malloc would map memory, each
time anew (mallopt(3), M_MMAP_THRESHOLD), and the spawner wakes six times for an action."""

SPAWN_TERM_GRACE_S = 0.5
"""Between SIGTERM and SIGKILL of a command without a PID namespace, whose children only it can end."""

SPAWNER_STOP_S = 10.0
"""How long the end of the spawner is waited for: SPAWN_TERM_GRACE_S and the reaping of everything it ran."""

SANDBOX_PROBE_S = 20.0
"""How long the probe of the sandbox may take; it takes 5 ms."""

NINJA_MANIFEST_TRIES = 100
"""How often a manifest may be remade before a build: kCycleLimit of ninja's src/ninja.cc."""

LOCAL_STOP_S = 5.0
"""Between SIGINT and SIGKILL of a local command when a build is interrupted: a compiler ends within milliseconds."""

PIPE_READ_BYTES = 64 * KIB
"""One read from a command's output: the capacity of a Linux pipe (pipe(7))."""

MISSING_INPUT_ROUNDS = 8
"""Times that an action is sent again with inputs that its failure named: each round finds at least one more file."""

INPUT_UPLOAD_ROUNDS = 3
"""Times that a client uploads inputs anew which the store has lost in the meantime."""

ANALYSED_AT_ONCE = 4
"""Edges that the client analyses before it looks at its sockets again: at 1 ms each the farm is never kept waiting."""

ELF_SECTION_BYTES = 16 * MIB
"""The dynamic section or string table of one ELF file. libLLVM's, the largest about, is 3 MiB."""

ELF_CLOSURE_FILES = 1000
"""Shared libraries of one program; a browser has 150."""

LINKER_CONFIGURATION_NESTING = 4
"""``include`` inside ld.so.conf; Debian has one level."""

FINGERPRINT_FILES = 100_000
"""Files of one tool fingerprint.

/usr/include has 8,000 with a desktop's worth of -dev packages; validation takes 2 us each."""

PROBE_TIMEOUT_S = 20.0
"""One question to a compiler or interpreter.

They answer in 5 to 50 ms; a machine under full load needs a hundred times that."""

TOOLS_OF_ONE_TOOL = 50
"""Programs that one tool is followed into: its interpreter, wrapped compilers.

A script that names more is not a wrapper."""

SCRIPT_BYTES = 256 * KIB
"""The part of a script that is searched for the programs it runs; wrappers are a few lines."""

EVALUATED_PROPERTIES = 10_000
"""Platform properties whose value is kept in memory. Peers choose the names, so there must be a bound."""

IN_FLIGHT_EDGES = 2000
"""Edges that a build has under way when no -j is given: enough for 100 workers of 8 slots with as much again queued."""

SILENCE_S = 9.0
"""A build that has shown nothing for so long says what it waits for: it is never silent for more than 10 s, and under
full load it may be woken a second late."""

CONNECT_S = 20.0
"""How long a client tries to reach a broker: a broker that restarts is back in 1 s, a switch port in 10 s."""

WORKERLESS_S = 20.0
"""A farm without any worker for so long is given up by a client that may run actions itself: as CONNECT_S."""

BROKER_SILENCE_S = 60.0
"""A build whose broker has not answered for so long fails: a machine that reboots is back by then."""

ACTION_TIMEOUT_S = 600.0
"""Wall-clock bound of an action that names none: the seed's example.

The seed's code had 1 s, which no compile meets."""

LONGEST_TIMEOUT_S = 7 * 24 * 3600.0
"""The longest that an action may ask for: a week. It keeps infinities out of the arithmetic of deadlines."""

CEILING_TIMEOUT_S = 3600.0
"""What a worker grants unless told otherwise: six times what actions ask for by default."""

CAPABILITY_PATHS = 64
"""Paths of the worker that one action may ask for: each is a mount of 0.1 ms."""

PROCESSORS = 8192
"""Processors of one machine: NR_CPUS of the largest x86 kernels."""

MISSING_OUTPUT_BYTES = 256 * KIB
"""The end of a failed command's output that is searched for names of missing files. It takes about 5 ms."""

MISSING_PATHS = 2000
"""Candidates from one failed command: 20 names in each of 100 search directories."""

STAGED_DIRECTORY_FILES = 5000
"""Files of a directory that a command names, which are all staged. A larger one is not: its declared files are."""

MAPPED_FILE_BYTES = 4 * MIB
"""A script or configuration file of the build directory up to here has the user's paths in it replaced."""

ARCHIVE_MEMBERS = 50_000
"""Members of one thin archive that are staged."""

PYTHON_MODULES = 2000
"""Modules that the imports of one script are followed to."""

EVICTION_IDLE_S = 2.0
"""The store looks whether eviction is due when it has had nothing to do for so long: a pause between two builds."""

PIN_S = 3600.0
"""A blob that was asked for or made within this time is not evicted: builds rarely take longer."""

WORKER_COUNTERS = 64
"""Counters that the broker keeps of one worker, and characters of a counter's name: workers have about ten."""

STATUS_WORKER_BYTES = 2 * KIB
"""One worker in a Status, at most: 1,000 of them are half a message. With more workers each has less."""

COUNTERS_INTERVAL_S = 5.0
"""How often the store tells the broker what it has counted, if that has changed: the age of a report."""

COUNTERS_BYTES = 16 * KIB
"""What the store tells at once: some ten counters of 40 B."""

WORKERS_NAMED = 3
"""Workers that an error about a property names; the rest are counted."""

SCARCE_DISK_BYTES = 5 * GIB
"""Free space below which ``zbuild doctor`` warns: a quarter of what a cache keeps by default."""

SCARCE_INODES = 100_000
"""Free inodes below which it warns: a large project with its headers makes as many blobs in a few days."""

SCARCE_MEMORY_BYTES = 2 * GIB
"""Memory below which it warns: one C++ compile takes 0.5 to 1 GiB."""

STATUS_TIMEOUT_S = 5.0
"""How long ``zbuild status`` waits: a broker under full load answers within 0.1 s."""

PATH_BYTES = 4096
"""PATH_MAX of Linux: a longer word is no path."""

BEACON_BATCH = 16
"""Beacon questions that the broker answers before it turns to its work again."""

EMBEDDED_SLOTS_PER_PROCESSOR = 4
"""Slots of an embedded farm, however large -j is: more processes than this per processor only wait for each other."""

DAEMON_CHECK_S = 1.0
"""How often a client looks whether a daemon that it started has ended: a worker without a sandbox ends at once."""

REFRESH_S = 0.1
"""The shortest time between two drawings of the progress on a terminal."""

STAGING_ROUNDS = 64
"""Times that an attempt fetches inputs which turn out to be absent or damaged when they are staged, one or more each
time. A worker with more of them has a failing disk, and another one is better."""

STAGES_PER_SLOT = 4
"""Stages for each slot of a worker: for what is prepared, for what runs, and two for what is being collected."""

NINJA_RECORD_BYTES = (1 << 19) - 1
"""One record of .ninja_deps: ninja's ``kMaxRecordSize``, the size of the buffer that it reads records into."""

SUGGESTION_EDITS = 3
"""A name further away than this is not suggested: ``kMaxValidEditDistance`` of ninja's ``src/state.cc``."""

DAEMON_LOG_BYTES = 1 * MIB
"""The log of local farms is put aside, in place of the one before, when it is larger than this: some 5,000 builds."""

LAST_WORDS_BYTES = 4 * KIB
"""The end of that log which is searched for the reason why a daemon gave up."""

SOCKET_DIR_BYTES = 75
"""The longest TMPDIR that Unix sockets are put below: sun_path has 108 bytes (unix(7)), our own names take 30."""

GARBAGE_OBJECTS = 50_000
"""New objects of a client or a broker after which Python looks for garbage among them: a few MB. Modules, manifest,
analyses make ten times as many that live until the end, and at Python's own 700 looking at them is a twentieth of the
start. A broker's are its actions, and looking at them is a twentieth of its time with 20,000 of them."""

TOOLS_GUESSED_EDGES = 16
"""Commands that are looked at for the tools that a build will use first: those of one target are much alike."""

IN_FLIGHT_PER_JOB = 4
"""Edges under way on another farm for each of -j: one runs, one is prepared, one is on its way, one is coming back."""

WORKER_PROPERTIES = 10_000
"""Properties that the broker keeps of one worker: a few tools and libraries for each project of a large site."""

RECONNECT_GRACE_S = 1.0
"""A peer whose link has closed may come back within this and keeps what it had. ZeroMQ connects again after 0.1 s;
until then nothing new is granted to it, and idle workers begin copies of what it runs."""

RECOVERY_S = 4.0
"""After a restart, how long a broker waits for the holders of leases and for the clients of their actions: they
connect again within 0.3 s. With the start itself the first dispatch comes within 5 s whoever stays away."""

WORKER_TAKEN_S = 15.0
"""Three reports. A worker that has been heard of within this is alive, and no other process takes its worker id."""

TAKEN_REPEAT_S = 60.0
"""How long a worker asks again when its worker id is taken: its former self is declared lost within 30 s."""

SUSPENDED_S = 5.0
"""A tick that comes so much late means that the broker itself stood still: nobody is blamed for that time."""

FAILURE_THRESHOLD = 3
"""Failures in a row that open a worker's circuit breaker: the seed's failureThreshold."""

QUARANTINE_MIN_S = 5.0
"""The first back-off of a worker whose breaker opens, doubled with each further one: the seed's blacklist."""

QUARANTINE_MAX_S = 300.0
"""The longest back-off: the seed's."""

QUARANTINE_FORGOTTEN_S = 600.0
"""After twice the longest back-off without another break, the next one counts as the first."""

HEALTH_RECORDS = 4096
"""Worker ids whose breakers are kept: four times the workers of a large farm."""

STRAINED_CPU = 0.95
"""Usage of a worker's processors above which it is DEGRADED: the seed's."""

STRAINED_MEMORY = 0.90
"""Usage of a worker's memory above which it is DEGRADED: the seed's."""

STRAINED_SILENCE_S = 10.0
"""A worker that answers later than this is DEGRADED: the seed's. It is two reports."""

SILENCE_MIN_S = 15.0
"""However regular a worker has been, it is not lost before this: the seed's heartbeatTimeout, three reports."""

SILENCE_PHI = 8.0
"""Phi at which a silent worker is lost, one false alarm in 10^8 reports: the seed's threshold."""

SILENCE_WINDOW = 100
"""Intervals between reports that phi is computed from: the seed's."""

SILENCE_SAMPLES = 10
"""Below this many intervals only the upper bound counts: 50 s of reports."""

SILENCE_DEVIATION_S = 1.0
"""The least standard deviation that is assumed, or a worker on a quiet LAN would have to keep time to the ms."""

POISON_LOSSES = 3
"""Workers that may be lost while they run one action, on POISON_WORKERS or more: then the action is to blame."""

POISON_WORKERS = 2
"""One worker that is lost again and again is its own fault; two are the action's."""

STRAGGLER_FACTOR = 4.0
"""An action that has taken so many times its recorded duration may get a copy: slow disks and swapping make 2 to 3."""

STRAGGLER_MARGIN_S = 5.0
"""And so much longer in seconds: a copy costs a transfer of inputs, which a short action is not worth."""

JOURNAL_MIN_BYTES = 4 * MIB
"""A journal is compacted when it is larger than this and than four times what is live: about 35,000 leases."""

JOURNAL_GROWTH = 4
"""Compaction writes what is live once for each three times as much appended."""

JOURNAL_RECORD_BYTES = 64 * KIB
"""One record. The largest is a Standing with all attempts of a critical action: 1 KB."""

UNKNOWN_DURATION_S = 1.0
"""What an action is expected to take of which no earlier run is known: about a compile of C++."""

DRAIN_S = 60.0
"""How long a worker that drains lets commands run; what then still runs is given back. systemd kills after 90 s."""

DIFFERENCE_BLOCK_BYTES = 64 * KIB
"""Two files are compared in pieces of this size, at memory speed; only the one that differs is gone through by byte."""

DIFFERENCE_EXCERPT_BYTES = 32
"""What is shown of each file where they differ: 96 columns as hexadecimal digits."""

WORKERS_AWAITED_S = 2.0
"""How long ``zbuild verify`` waits for a second worker of a farm that stands: one that restarts is back in a second."""

STATUS_REPEAT_S = 0.1
"""How often ``zbuild verify`` asks who is there while it waits for workers: they take 0.3 to 1 s to start."""

SEARCHED_ENTRIES = 20_000
"""Files and directories that are looked through for the name that a failed command complains of: about 0.1 s."""

UNFIT_PAIRS = 4096
"""Pairs of a thief and of what it cannot run that a victim remembers: 4 for each peer. When there are more it begins
anew, and each costs one declined steal again."""

MAX_PEERS = 1024
"""Other workers that one worker knows: the seed's bound. Each is 0.5 KB, and a steal looks at all of them."""

PEER_STALE_S = 30.0
"""A peer that was not announced for so long is forgotten: the seed's, three announcements."""

ANNOUNCE_INTERVAL_S = 10.0
"""How often the broker announces all workers: the seed's peerAnnounceInterval."""

ANNOUNCE_SOON_S = 0.1
"""How soon a worker that has come is announced: those that come together are announced together."""

ANNOUNCE_AGAIN_S = 1.0
"""And once more after this, for the worker itself: what is published before its subscription has arrived, some 10 ms
after its Welcome, it never hears (libzmq #2267). Without this it knew nobody for ten seconds: some builds are over."""

ANNOUNCE_REST_S = 0.002
"""No announcement comes sooner after another than this for each worker: its size and its receivers grow with them.
Where 1,000 workers come one after the other each gets 25 KB/s of announcements; where 8 come nobody waits for it."""

METRICS_INTERVAL_S = 0.5
"""How often the longest queues are published while there are any: a queue of compiles lasts some seconds."""

METRICS_SOON_S = 0.1
"""The same while some worker has a free slot: a queue of short actions lasts some tenths of a second. At 10 messages
of 2 KB a second this is 20 KB/s for each worker, and 0.2 ms of the broker's time for 1,000."""

METRICS_PEERS = 64
"""Queues that are published at once, the longest ones. With 25 B each they stay below ANNOUNCEMENT_BYTES."""

ANNOUNCEMENT_BYTES = 2 * KIB
"""One announcement: the seed's bound."""

PEER_QUEUE_SHARE = 0.5
"""How long a queue is thought to last for each action in it, as a share of what one takes here: two slots work it off.

In simulated skewed builds attempts of the least-loaded strategy succeed at 75 % with it, at 71 with 1 and at 56
without; makespans are the same within 3 %."""

PEER_QUIET_MIN_S = 0.5
"""How long a peer is left alone that has not answered once; doubled with each further time."""

PEER_QUIET_MAX_S = 30.0
"""The longest such pause: a worker that restarts is back within seconds; one that is off is announced no more."""

ROUND_TRIP_SHARE = 0.125
"""The share of a new sample in the moving average of a peer's round trip, as TCP's (RFC 6298)."""

USUAL_SHARE = 0.1
"""The share of a new sample in the moving average of how long commands run here: about the last twenty count."""

STEAL_IDLE_MIN_S = 0.01
"""The first pause of an idle worker before it steals, the seed's: by then the broker has sent what it has."""

STEAL_IDLE_MAX_S = 1.0
"""The longest one, the seed's."""

STEAL_HANG_UP_S = 1.0
"""An answer that has not come by now will not: the socket is closed. Until then it is welcome, though late."""

STEAL_CONFIRM_S = 2.0
"""A victim takes back what was not accepted by now. It is longer than STEAL_HANG_UP_S: no answer comes after that."""

STEAL_CANDIDATES = 64
"""Leases that a victim looks at for one steal: sorting them by their inputs takes 0.1 ms."""

STEAL_READS = 8
"""Leases whose inputs a victim reads after each steal, for the next: 0.3 ms that no thief waits for."""

STEAL_LONG_S = 1.0
"""Actions that take longer are given one at a time: a steal takes a millisecond, and a wrong guess costs a second."""

STEAL_HOPS = 8
"""How often a lease goes from worker to worker. Halves of 256 leases are 1 after 8 steals."""

GIVEN_REPORTS = 3
"""Reports that the broker hears from a victim without revoking what a thief has accepted: then the thief is gone."""

BROKER_SILENT_S = 7.0
"""A worker that has heard nothing for so long looks for work by itself: a report is answered every 5 s."""

INPUT_MASK_BYTES = 1 * KIB
"""What a thief tells of the inputs that it has; see worker/input_mask.py."""

INPUT_MASK_ACTIONS = 64
"""Actions whose inputs it tells of, the latest: decoding them takes 3 ms, once, while it has nothing to do."""

ADAPTIVE_SHARE = 0.3
"""Below this share of successes the adaptive strategy goes to the most loaded peer: the seed's."""

ADAPTIVE_WINDOW = 20
"""The attempts that this share is of."""

STEAL_SOCKETS = 16
"""Sockets to peers that a worker keeps for its next steal from them: those it steals from in turn."""

STEAL_MESSAGE_BYTES = 2 * MIB
"""One message between workers: BATCH_BYTES of actions, or one action of a rare size; a larger one is not given."""
