"""Every bound of the product, with its reason. Times are in seconds, sizes in bytes, unless a name says otherwise."""

from __future__ import annotations

from typing import Final

# ---- leases (DESIGN: "A lease, exactly"); L is longer than the longest leader gap plus two pings
PING_INTERVAL: Final = 0.5
LEASE: Final = 3.0
REVERT: Final = 2.0  # every fault's declared recovery time plus LATENESS fits
LATENESS: Final = 0.5
MAIN_LEASE: Final = 3.0  # what a caller of the toxiproxy API has set ends so long after main was frozen or killed
MAIN_RENEWAL: Final = 0.5  # main renews that lease this often
CLOCK_DRIFT: Final = 0.01
FAILURE_MARGIN: Final = 1.03  # two clocks that drift apart by 1 % each, and a little
FAILURE_AFTER: Final = (LEASE + REVERT) * FAILURE_MARGIN
PONG_STALL: Final = 6.0  # a node that takes no newer pong this long is no longer answered
RUN_OVERDUE: Final = 20.0  # a run that stands this long past its duration stops its node's leases
OFFER_TIMEOUT: Final = 8.0  # a planned run that nobody asked for is skipped after this
RECOVERY_GIVE_UP: Final = 60.0  # a recovery that fails this long makes its run recoveryFailed
REAPER_LOCK_WAIT: Final = 0.3  # the reaper kills main if it cannot have the undo journal's lock in this time
PINGS_REMEMBERED: Final = 40  # pings of a node that can still be answered: 20 s of them
PONGS_PENDING: Final = 12  # pongs that wait for their commit index to be applied: 6 s of them
ROUND_TIMEOUT: Final = 1.0  # for a majority's answer to the leader; after it, pings that came later get their turn
LEADER_TICK: Final = 0.1  # the leader looks at its nodes and plans at least this often
PROPOSAL_PATIENCE: Final = 1.0  # the leader repeats a command of its own that has changed nothing by then
HEALTH_SETTLE: Final = 2.0  # at most one change of a node's health in this time, however fast its reasons change
UNWELL_REASONS: Final = 8  # of one node
UNWELL_REASON: Final = 120  # bytes of one of them
RUNS_RECOVERING: Final = 200  # runs that a ping names as still recovering
REGISTER_RETRY: Final = 0.3  # between two tries to register; an election takes about as long
CLEAN_POLL: Final = 0.1  # how often a starting peer looks whether the old reaper is gone

# ---- state
TASKS_UNFINISHED: Final = 1_000
TASKS_FINISHED: Final = 1_000
TASK_ENCODED: Final = 4 * 1024  # a finished task in the state
TASK_IDS_REMEMBERED: Final = 50_000  # ids of tasks that left the history, as hashes
REQUESTS_REMEMBERED: Final = 10_000  # request ids whose result is kept for repeats
SNAPSHOT: Final = 8 * 1024 * 1024
NODES: Final = 500
REQUESTS_BYTES: Final = 1024 * 1024  # ids and results of the remembered requests together
SNAPSHOT_WORKING: Final = 2 * 1024 * 1024  # nodes, unfinished tasks, their runs; the history fills most of SNAPSHOT
HALTS: Final = 256  # in force at once
HALTS_LIFTED: Final = 1_000  # ids of lifted halts that are remembered
RUN_TARGETS: Final = 200  # what one run is done to; a node has no more proxies
TARGET: Final = 256  # characters of one target: a path, a network, a command
RUN_REASON: Final = 96  # bytes of a run's reason in the state
RUN_ENCODED: Final = 320  # a run in a snapshot, its effects and targets not counted
EFFECT_COUNTS: Final = 6  # counts that one fault reports
EFFECT_NAME: Final = 16
PAUSED_RUNS: Final = 32  # a task may be paused until this many of its runs (or one of each target) were cut short by it
ANSWER_TEXT: Final = 1_024  # characters of an error's text in the log's answers


# ---- identity
CALLER_TEXT: Final = 300  # characters of a caller's name or address
API_TOKENS: Final = 200  # that have not ended
JOIN_TOKENS: Final = 64
TOKEN_LONGEST: Final = 366 * 24 * 3600.0
JOIN_TOKEN_LIFE: Final = 3600.0
API_TOKEN_LIFE: Final = 90 * 24 * 3600.0
CERTIFICATE: Final = 7 * 24 * 3600.0  # renewed when half of it is over: a cluster may be down for three days
CERTIFICATE_LONGEST: Final = 30 * 24 * 3600.0  # a removed node's directory is refused by name this long
REVOKED: Final = 1_000  # data directories of removed nodes
AUTHORITY: Final = 4 * 1024  # a CA's certificate as PEM; also the longest text in a message between peers

# ---- documents and requests
DOCUMENT: Final = 256 * 1024  # what a peer takes; also the largest file that the client reads
DOCUMENT_DEPTH: Final = 32
STEPS: Final = 200
NAME: Final = 63  # a DNS label, so that a name is good for Kubernetes too
DESCRIPTION: Final = 4 * 1024
STEP_DURATION: Final = 24 * 3600.0
DEADLINE_DEFAULT: Final = 3600.0
DEADLINE: Final = 7 * 24 * 3600.0
LABELS: Final = 64
PROXIES: Final = 200
PROXY_NAME: Final = 63
TOXICS: Final = 500  # of a peer, set by the toxiproxy API: all faults of a proxy process fit into CONTROL_FRAME
TOXIC_NAME: Final = 128
TOXIPROXY_CONNECTIONS: Final = 64  # of the toxiproxy API's port; beyond it the oldest is closed
EVENT_STREAMS: Final = 64  # open server-sent event streams of a peer
EVENTS_KEPT: Final = 10_000  # events a stream can be resumed from
REASON: Final = 512
LABEL: Final = 128  # characters of a label's key or value
STEP_DURATION_DEFAULT: Final = 60.0
STEP_RETRIES: Final = 10
PROBLEMS_SHOWN: Final = 50  # problems of one document that a message lists; the rest is counted
SCENARIO_FAULTS: Final = 16  # faults of one scenario
STEP_PARAMETERS: Final = 64
DIGITS: Final = 40  # of one number in a document

# ---- faults
FAULT_DELAY_MS: Final = 600_000.0  # ten minutes: longer than any client's patience
FAULT_STATUS_CODES: Final = 20
FAULT_BODY: Final = 4 * 1024  # characters of the answer of an injected error
MATCH_TEXT: Final = 256  # characters of one pattern
MATCH_VALUES: Final = 64  # values of one field of a matcher; each is compared with each request
QUANTILES: Final = 64  # points of a measured distribution
TRAFFIC_BYTES: Final = 1 << 40  # of a limit of traffic or bandwidth: a tebibyte
FAULT_HEADERS: Final = 32  # headers that one fault sets or removes
DAMAGE: Final = 0.1  # part of the bytes that a fault changes: more would take the proxy's time from other streams
HEADER_VALUE: Final = 1_024  # characters of a header that a fault sets
FAULT_HOSTS: Final = 64  # addresses, networks and names of one fault
FAULT_PORTS: Final = 64  # ports and ranges of one fault
FAULT_PID: Final = 2**22  # the largest process number of Linux (PID_MAX_LIMIT)
FAULT_NAMES: Final = 64  # names whose answers one fault replaces
FAULT_ADDRESSES: Final = 16  # addresses of one replaced answer: it fits into 512 bytes
FAULT_RATE_KB: Final = 10_000_000.0  # kilobytes a second: 80 Gbit/s
FAULT_CLOCK_OFFSET: Final = 3.2e9  # a hundred years in seconds
HOST_ADDRESSES: Final = 1_000  # that the names of one fault have had while it was on
HOST_LOOK_UP: Final = 5.0  # between two look-ups of the names of a fault that is on
HOST_LOOK_UP_WAIT: Final = 1.0  # for one of them: INJECT_TIMEOUT holds for all of an injection
RHYTHM_SHORTEST: Final = 0.1  # of a pulse or a repetition: an injection takes the undo journal's lock each time
FAULT_PATH: Final = 1_024  # characters of a path or an argument
FAULT_PATTERN: Final = 256  # characters of a pattern of names
FAULT_SPACE: Final = 2**50  # of memory or of a disk: a pebibyte
FAULT_WORKERS: Final = 256  # processes that burn CPU time
FAULT_IO_WORKERS: Final = 32
FAULT_OPERATIONS: Final = 10_000_000  # a second
FAULT_DESCRIPTORS: Final = 1_000_000
FAULT_MEMORY_FLOOR: Final = 256 * 1024 * 1024  # of memory stay available, or a twentieth of all if that is more
FAULT_DISK_FLOOR: Final = 16 * 1024 * 1024  # the least that may be left free on a disk
FAULT_DISK_LEFT: Final = 64 * 1024 * 1024  # what is left free unless another number is said
FAULT_IO_FILE: Final = 64 * 1024 * 1024  # of each process that loads a disk
HELPER_STOP: Final = 0.6  # a process that bears a load has ended this long after it was asked, else it is killed
RESTART_COMMAND: Final = 60.0  # a command that restarts something is ended then
RUNTIME_ANSWER: Final = 1.0  # a container runtime answers within milliseconds
RUNTIME_LIST: Final = 4 * 1024 * 1024  # of its answer

PLUGIN_ARGUMENTS: Final = 32  # of one use of a plug-in
PLUGIN_ARGUMENT: Final = 1024  # characters of one of them

# ---- consensus
PROPOSALS_IN_FLIGHT: Final = 256
COMMAND: Final = 512 * 1024
FRAME: Final = 4 * 1024 * 1024  # one frame of the Raft port
HANDSHAKE: Final = 5.0  # a connection that has not said who it is by then is closed
HANDSHAKES_OPEN: Final = 64  # connections that have not said who they are yet
WRITE_TIMEOUT: Final = 1.8  # a write without a quorum is answered within two seconds
VOTERS: Final = 7  # three may be lost; more only make every write wait for more peers. Whoever comes later observes
OBSERVER_MESSAGES: Final = 2_000  # that a leader sends a second to all observers together, at about 50 µs each
LOG_ENTRIES_BEFORE_SNAPSHOT: Final = 20_000
LOG_BYTES_BEFORE_SNAPSHOT: Final = 16 * 1024 * 1024

# ---- proxy
PROXY_CONNECTIONS: Final = 4_096  # of one proxy
PROXY_BUFFER: Final = 256 * 1024  # bytes held for one direction of a connection before reading pauses
PROXY_SPLICE_READ: Final = 128 * 1024  # bytes in one read that show a bulk transfer, which the kernel may then move
PROXY_SPLICE_LEAST: Final = 1024 * 1024  # bytes still to come that are worth it
PROXY_SPLICE_PIPE: Final = 512 * 1024  # bytes that wait in the kernel for one direction
PROXY_SPLICES: Final = 64  # directions at a time: their pipes are half of what the kernel gives to one user
HTTP_HEAD: Final = 64 * 1024
CONTROL_FRAME: Final = 1024 * 1024
PROXY_BACKLOG: Final = 1_024  # connections that wait to be accepted, also while the proxy process restarts
PROXY_ACCEPTS: Final = 16  # connections in a turn of the loop: one by one, 1000 would wait 10 s for those that are busy
PROXY_CONNECT: Final = 5.0  # an upstream that has not taken the connection by then counts as down
PROXY_DELAYED: Final = 8 * 1024 * 1024  # bytes a fault may hold for one direction: 100 ms at 80 MB/s
PROXY_DELAYED_TOTAL: Final = 128 * 1024 * 1024  # of all connections; beyond it each has PROXY_BUFFER
PROXY_STALE_TIMERS: Final = 1_000  # cancelled wakes that may be kept until they are half of all
LISTEN_RETRY: Final = 0.5  # between two tries to listen again where somebody else has taken the port
EDITED_BODY: Final = 1024 * 1024  # bytes of a body that a fault wants whole; a longer one passes as it is
PROXY_SHAPED: Final = 64 * 1024  # bytes a fault may hold that slows or stops a stream: the sender shall feel it
PROXY_CLIENTS: Final = 10_000  # clients or routes of which a fault keeps a count; then the oldest is forgotten
PROXY_PIPELINE: Final = 1_024  # requests of one connection without their answer before reading pauses
HTTP2_CONTINUATIONS: Final = 64  # frames of one header block; more of them come only from those who mean ill
HTTP2_TABLE: Final = 64 * 1024  # bytes of header fields that the ends of a connection may refer back to
HTTP2_STREAMS: Final = 1_024  # open streams of one connection that are followed
PROXY_LINGER: Final = 2.0  # after a last answer the client has this long to close first
PROXY_TLS_END: Final = 60.0  # a client of TLS has this long to take what was sent before the end, and to confirm it
PROXY_ORPHAN: Final = 600.0  # a proxy process that had no main this long ends
PROXY_RUNS_REMEMBERED: Final = 10_000  # ended runs that are refused when they are asked for again
PROXY_EFFECTS: Final = 1_000  # ended runs whose effect is kept until it is forgotten
CONTROL_CLIENTS: Final = 16  # connections to a control socket
CONTROL_CALL: Final = 5.0  # one call over a control socket, and one frame once it has begun
CONTROL_PING: Final = 1.0  # main looks this often whether the proxy process answers
CONTROL_START: Final = 10.0  # a started proxy process answers by then, also on a busy machine
CONTROL_BACKOFF: Final = 2.0  # at most between two starts of a proxy process that does not stay
REAPER_LOOK: Final = 0.5  # a proxy process that bears faults looks this often whether a reaper stands
REAPER_AGAIN: Final = 2.0  # and starts one no more often than this
CONTROL_RETRY: Final = 0.02  # between two tries of something that another process is about to do
CONTROL_FDS: Final = 253  # what the kernel passes in one message (SCM_MAX_FD); above PROXIES

# ---- HTTP API
MEMBERSHIP_QUEUE: Final = 64  # joins and removals that wait for the leader
MEMBERSHIP_RETRY: Final = 1.0  # between two requests for the same change: the leader may have changed
JOIN_RETRY: Final = 3.0  # a new peer that is not let in asks again after this
JOIN_START: Final = 10.0  # a peer that is to be joined on the same machine may start this long
JOIN_TIMEOUT: Final = 60.0  # a new peer that is no member by then ends with an error
MEMBERSHIP_TIMEOUT: Final = 20.0  # a join or a removal: the new member must be reached, the old one handed over
PROMOTION_TIMEOUT: Final = 5.0  # an observer has nearly all of the log, and other changes wait for its promotion
REMOVAL_LEFT: Final = MEMBERSHIP_TIMEOUT + 5.0  # a removal that stands half done this long is finished by the leader
HTTP_BODY: Final = DOCUMENT + 64 * 1024  # a document within its JSON envelope; scenarios count as part of it
HTTP_BODY_TIME: Final = 20.0  # a request's body is there by then
HTTP_CONNECTIONS: Final = 512  # of a peer's API port; beyond it one that has not said who calls is closed
HTTP_IDLE: Final = 75.0  # a kept-alive connection without a request
PAGE: Final = 200  # the largest page of a list
PAGE_DEFAULT: Final = 50
BACKUPS: Final = 2  # backups of one peer that are sent at the same time, of SNAPSHOT bytes each
EVENT_HEARTBEAT: Final = 10.0  # a comment on a silent stream, so that a dead connection is noticed
EVENT_STREAM_WRITE: Final = 20.0  # a reader that takes nothing this long is cut off
TASK_SERIES: Final = 100  # finished tasks that still have series in the metrics
TASK_ID: Final = 80  # the name of an orchestration, a hyphen, and what makes it unique

# ---- runs on their node
INJECT_TIMEOUT: Final = 2.0  # all faults of a run together; the end of the lease cuts it shorter
INJECT_LOOK: Final = 0.1  # an injection that may not go on (a halt, a cancel) is given up within this
QUESTIONS: Final = 64  # submits of others whose question to this node waits for its answer
CAN_WAIT: Final = 2.5  # targets say within this whether they can do a task; a client waits longer, by WRITE_TIMEOUT
CAN_LOOK: Final = 0.25  # how often it is looked meanwhile whether there is a way to a target, and whether it is down
OBSERVE_TIMEOUT: Final = 2.0  # to read back what of one type is on
LOST_LOOK: Final = 0.5  # how often it is looked whether what is on has gone off by itself
LOOKS: Final = 4  # look-ups of targets at once on a node, each in a thread
SWITCH_LOOK: Final = 0.5  # the clock is compared this often while the next beat of a pulse is awaited
START_MARGIN: Final = 0.5  # of the lease must be left to begin an injection, or the reaper may find main amid it
UNDO_LOCK_WAIT: Final = 5.0  # main waits this long for a reaper that undoes
RUN_ACTIONS: Final = 32  # injections, recoveries and reports under way at once on a node
AGENT_TICK: Final = 0.25  # the agent looks at the clock at least this often
ASK_INTERVAL: Final = 1.0  # a run that was refused is asked for again after this
OFFER_DELAY: Final = 0.5  # takers of an offered run ask for it after a part of this, drawn from node and run
REPORT_INTERVAL: Final = 0.7  # a report that was answered and is not seen in the state is made again after this
RECOVERY_RETRY: Final = 0.2  # the first pause before a recovery is tried again; doubles
RECOVERY_RETRY_MAX: Final = 5.0
HALTS_LOCAL: Final = 64  # halts that a peer remembers on disk until the log has them
HALT_RETRY: Final = 0.5  # a halt that the log does not know is told and proposed again after this
HALT_FOLLOWS: Final = 5.0  # a run that its node ended for a halt waits this long for the halt to reach the log
HALT_LOGGED_WAIT: Final = 1.0  # the answer to a halt waits this long for the log, if there is a quorum
LAST_WORDS: Final = 1.0  # a peer that stops waits this long for the cluster to take the end of its runs

# ---- vitals
LOOP_PROBE: Final = 0.25  # how often the lateness of the event loop is measured
LOOP_LATE: Final = 1.0  # a loop that is later than this makes its node degraded
LOOP_LATE_MEMORY: Final = 0.85  # of the lateness is left after each probe: 3 s are forgotten in 2 s
DISK_FREE: Final = 64 * 1024 * 1024  # less free space than this makes a node degraded
STOP_TIMEOUT: Final = 5.0  # of each part of a graceful stop
HAND_OVER: Final = 1.0  # a leader that stops gives another this long to take over

# ---- analytics
CSV_LINE: Final = 64 * 1024  # bytes of one line of `timestamp,value`; a longer one is no such file
CSV_BACKWARDS: Final = 3600.0  # a clock that was put back may repeat an hour; beyond it the rows are in disorder

# ---- recording
EVENT_NAME: Final = 256  # characters of an endpoint, a node, any name that events are counted by
EVENT_TYPES: Final = 31  # of each dimension so many names are kept apart, the rest are counted together
EVENT_FAULTS: Final = 63
EVENT_ENDPOINTS: Final = 200
EVENT_PROTOCOLS: Final = 15
EVENT_NODES: Final = 63
EVENT_STATUSES: Final = 31
EVENT_IDLE: Final = 3600.0  # a name without events this long makes room for another
EVENT_BUSIEST: Final = 20  # endpoints whose latencies are kept; more histograms would not fit the memory
EVENTS_PENDING: Final = 8_192  # events that were recorded one by one and are counted together
EVENTS_BATCH: Final = 131_072  # rows of a batch that are counted at once
EVENTS_RECENT: Final = 1_000  # single events that are kept for people to look at
EVENT_AHEAD: Final = 300.0  # events further ahead of the clock than this come from a wrong clock
CELL: Final = 512 * 1024  # bytes of a cell; one with 200 endpoints of 100 requests each has 40 KiB
CELL_STEP: Final = 86_400
CELL_ENDPOINTS: Final = 1_000  # endpoints of a second among which the busiest are looked for
CELL_TARGETS: Final = 10_000  # targets of a second of which it is remembered to which endpoint they belong
CELLS_WAITING: Final = 120  # cells that wait for main, and in main for the analyst; then the oldest is dropped
CELLS_SENT: Final = CONTROL_FRAME - CELL  # bytes of cells in one answer, beyond which no other is put in
ENDPOINT: Final = 128  # characters of an endpoint that the data plane names
CELL_SAMPLES: Final = 20  # single events in a cell
SERIES_VALUES: Final = 1_000_000  # of one answer
RECORDING_SPANS: Final = 1_000  # spans in which something recorded; then the oldest two become one
RECORDING_FILE: Final = 96 * 1024 * 1024  # the recording on disk; it compresses to a tenth of that
RECORDING_MEMORY: Final = 50 * 1024 * 1024  # counts and packed histograms; with what is being written 64 MiB

# ---- the analyst process
ANALYST_MESSAGE: Final = 4 * 1024 * 1024  # bytes of one message between main and the analyst
CELL_SECONDS: Final = 1.0  # cells are handed to the analyst this often
ANALYST_QUEUE: Final = 256  # messages that wait for the analyst: over a minute of cells while it makes a fit
FORECAST_MINUTES: Final = 1_440  # that are predicted at most: a day
LAG_MINUTES: Final = 120  # between two metrics that are said to move together
ANALYST_QUESTIONS: Final = 32  # questions that wait for an answer
ANALYST_ANSWER: Final = 20.0  # a fit takes seconds on a busy machine, and one may be under way
ANALYST_END: Final = 5.0  # it saves its recording within this when main lets it go
ANALYST_PAUSE: Final = 0.5  # before an analyst that worked is started again
ANALYST_PAUSE_MOST: Final = 30.0  # before one that never answered is
ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
