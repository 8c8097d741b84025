#!/usr/bin/env bash
# Instructions per send and per receive (valgrind --tool=callgrind), and system calls per million messages
# (strace -c). Neither depends on what else the machine does.
set -euo pipefail
cd "$(dirname "$0")/.."

program=$(cargo bench --bench count --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"name":"count".*"executable":"\([^"]*\)".*/\1/p' | tail -1)
[ -x "$program" ] || { echo "cargo bench --bench count --no-run has built nothing" >&2; exit 1; }
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
messages=20000

# Instructions in $1, with what it calls, for each message of $2 bytes.
instructions() {
    valgrind --tool=callgrind --callgrind-out-file="$place/out" --toggle-collect="count::$1*" \
        "$program" "$2" "$messages" >"$place/log" 2>&1 || { cat "$place/log" >&2; exit 1; }
    awk -v count="$messages" '/^(summary|totals):/ { total = $2 } END { printf "%.1f", total / count }' "$place/out"
}

echo "instructions per message, one process, steady state, those of the loop itself included"
printf '%8s %10s %10s %10s %12s %12s %12s %10s\n' \
    bytes send recv_into 'send slice' 'recv guard' 'batch send' 'batch recv' 'loops'
for size in 0 8 48 64 256 1024; do
    printf '%8d' "$size"
    for part in send:10 recv:10 slice_send:10 guard_recv:12 batch_send:12 batch_recv:12 nothing:10; do
        printf " %${part#*:}s" "$(instructions "count_${part%:*}" "$size")"
    done
    echo
done

echo
echo "system calls of six million messages of 8 B, those of start and end included"
strace -c -f -o "$place/calls" "$program" 8 1000000 >"$place/log"
cat "$place/calls"
