# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sysring_global_optspecs
    string join \n h/help V/version
end

function __fish_sysring_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sysring_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sysring_using_subcommand
    set -l cmd (__fish_sysring_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sysring -n "__fish_sysring_needs_command" -s h -l help -d 'Print help'
complete -c sysring -n "__fish_sysring_needs_command" -s V -l version -d 'Print version'
complete -c sysring -n "__fish_sysring_needs_command" -f -a "create" -d 'Make a channel'
complete -c sysring -n "__fish_sysring_needs_command" -f -a "send" -d 'Send stdin or a file, one message a line'
complete -c sysring -n "__fish_sysring_needs_command" -f -a "recv" -d 'Receive messages and write them to stdout or a file'
complete -c sysring -n "__fish_sysring_needs_command" -f -a "stat" -d 'Show a channel: geometry, seats, depth, counters, who waits for whom'
complete -c sysring -n "__fish_sysring_needs_command" -f -a "ls" -d 'List every channel on this machine'
complete -c sysring -n "__fish_sysring_needs_command" -f -a "rm" -d 'Remove a channel; everybody attached to it is told'
complete -c sysring -n "__fish_sysring_needs_command" -f -a "gc" -d 'Remove what the dead left behind, and say what it was'
complete -c sysring -n "__fish_sysring_needs_command" -f -a "top" -d 'Watch all channels live, in the terminal'
complete -c sysring -n "__fish_sysring_needs_command" -f -a "tap" -d 'Look at messages without taking them'
complete -c sysring -n "__fish_sysring_needs_command" -f -a "doctor" -d 'Check what the kernel and the system offer, and what may stand in the way'
complete -c sysring -n "__fish_sysring_needs_command" -f -a "bench" -d 'Measure throughput and latency on this machine'
complete -c sysring -n "__fish_sysring_needs_command" -f -a "completions" -d 'Print the completions for a shell'
complete -c sysring -n "__fish_sysring_needs_command" -f -a "demo" -d 'Three senders, one receiver, one kill -9: what sysring is for, in ten seconds'
complete -c sysring -n "__fish_sysring_using_subcommand create" -l senders -d 'How many senders may be attached at a time [default: 64]' -r
complete -c sysring -n "__fish_sysring_using_subcommand create" -l capacity -d 'Bytes for each sender, rounded up to a power of two [default: 1MiB]' -r
complete -c sysring -n "__fish_sysring_using_subcommand create" -l max-message -d 'The longest message; asking for more than half the capacity raises the capacity' -r
complete -c sysring -n "__fish_sysring_using_subcommand create" -l mode -d 'Who may use the channel, in octal; one that is there must have this mode [default of a new one: 600]' -r
complete -c sysring -n "__fish_sysring_using_subcommand create" -l group -d 'The group that the second digit of the mode is about, by name or number' -r
complete -c sysring -n "__fish_sysring_using_subcommand create" -l trust -d 'Also use channels that this user made, by name or number; may be given several times' -r
complete -c sysring -n "__fish_sysring_using_subcommand create" -l order -d 'Order between messages of different senders' -r -f -a "total\t'One causal order of all messages'
sender\t'Each sender\'s own order only: faster'"
complete -c sysring -n "__fish_sysring_using_subcommand create" -l spsc -d 'For one sender only'
complete -c sysring -n "__fish_sysring_using_subcommand create" -l no-persistent -d 'Let senders fail when the receiver goes, instead of waiting for the next one'
complete -c sysring -n "__fish_sysring_using_subcommand create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysring -n "__fish_sysring_using_subcommand send" -l framing -d 'What is a message: lines, length (4 bytes little-endian before each) or chunk=SIZE' -r
complete -c sysring -n "__fish_sysring_using_subcommand send" -l timeout -d 'Give up when a message has waited this long for room' -r
complete -c sysring -n "__fish_sysring_using_subcommand send" -l mode -d 'Who may use the channel, in octal; one that is there must have this mode [default of a new one: 600]' -r
complete -c sysring -n "__fish_sysring_using_subcommand send" -l group -d 'The group that the second digit of the mode is about, by name or number' -r
complete -c sysring -n "__fish_sysring_using_subcommand send" -l trust -d 'Also use channels that this user made, by name or number; may be given several times' -r
complete -c sysring -n "__fish_sysring_using_subcommand send" -l create -d 'Make the channel if there is none'
complete -c sysring -n "__fish_sysring_using_subcommand send" -s h -l help -d 'Print help'
complete -c sysring -n "__fish_sysring_using_subcommand recv" -l count -d 'End after N messages' -r
complete -c sysring -n "__fish_sysring_using_subcommand recv" -l timeout -d 'Give up when no message came for this long' -r
complete -c sysring -n "__fish_sysring_using_subcommand recv" -l eof -d 'End when K senders have come and gone since the last end of the stream, also those whose messages were taken before' -r
complete -c sysring -n "__fish_sysring_using_subcommand recv" -l to-file -d 'Write to a file instead of stdout; what it holds is replaced once the channel is open' -r -F
complete -c sysring -n "__fish_sysring_using_subcommand recv" -l framing -d 'What is written: lines, length (4 bytes little-endian before each message) or raw bytes' -r -f -a "lines\t'Each message and a newline'
length\t'A 4-byte little-endian length before each message'
raw\t'The bytes as they are'"
complete -c sysring -n "__fish_sysring_using_subcommand recv" -l mode -d 'Who may use the channel, in octal; one that is there must have this mode [default of a new one: 600]' -r
complete -c sysring -n "__fish_sysring_using_subcommand recv" -l group -d 'The group that the second digit of the mode is about, by name or number' -r
complete -c sysring -n "__fish_sysring_using_subcommand recv" -l trust -d 'Also use channels that this user made, by name or number; may be given several times' -r
complete -c sysring -n "__fish_sysring_using_subcommand recv" -l create -d 'Make the channel if there is none'
complete -c sysring -n "__fish_sysring_using_subcommand recv" -l follow -d 'Never end when the senders have gone: others may come'
complete -c sysring -n "__fish_sysring_using_subcommand recv" -l append -d 'Write behind what the file holds'
complete -c sysring -n "__fish_sysring_using_subcommand recv" -l rm -d 'Remove the channel at the end; not after an error, a time-out, a signal or a closed stdout'
complete -c sysring -n "__fish_sysring_using_subcommand recv" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysring -n "__fish_sysring_using_subcommand stat" -l json -d 'For programs'
complete -c sysring -n "__fish_sysring_using_subcommand stat" -l prometheus -d 'For Prometheus, in its text format 0.0.4, of this channel or of all'
complete -c sysring -n "__fish_sysring_using_subcommand stat" -s h -l help -d 'Print help'
complete -c sysring -n "__fish_sysring_using_subcommand ls" -l json -d 'For programs'
complete -c sysring -n "__fish_sysring_using_subcommand ls" -s h -l help -d 'Print help'
complete -c sysring -n "__fish_sysring_using_subcommand rm" -s h -l help -d 'Print help'
complete -c sysring -n "__fish_sysring_using_subcommand gc" -l older -d 'Of those, only channels that no sender or receiver has come to or left for this long' -r
complete -c sysring -n "__fish_sysring_using_subcommand gc" -l dry-run -d 'Say what would be removed, and remove nothing'
complete -c sysring -n "__fish_sysring_using_subcommand gc" -l idle -d 'Also remove channels that nobody uses and that hold no message'
complete -c sysring -n "__fish_sysring_using_subcommand gc" -s h -l help -d 'Print help'
complete -c sysring -n "__fish_sysring_using_subcommand top" -l interval -d 'Time between two looks, from 100ms to 1h' -r
complete -c sysring -n "__fish_sysring_using_subcommand top" -l sort -d 'What rows are sorted by' -r -f -a "name\t'By address'
rate\t'Most messages a second first'
depth\t'The fullest lane first'
state\t'Damaged and blocked ones first'"
complete -c sysring -n "__fish_sysring_using_subcommand top" -l filter -d 'Only channels with this text in their address, whatever its case' -r
complete -c sysring -n "__fish_sysring_using_subcommand top" -l once -d 'Print one frame as plain text and end; it takes one interval'
complete -c sysring -n "__fish_sysring_using_subcommand top" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysring -n "__fish_sysring_using_subcommand tap" -l count -d 'End after N messages' -r
complete -c sysring -n "__fish_sysring_using_subcommand tap" -l from -d 'Only the messages of the sender in this lane' -r
complete -c sysring -n "__fish_sysring_using_subcommand tap" -l bytes -d 'Show no more than the first SIZE bytes of each message' -r
complete -c sysring -n "__fish_sysring_using_subcommand tap" -l follow -d 'Go on with the messages that come, until a signal or the removal of the channel'
complete -c sysring -n "__fish_sysring_using_subcommand tap" -l from-now -d 'Leave out what waits at the beginning'
complete -c sysring -n "__fish_sysring_using_subcommand tap" -l time -d 'Say when each message was seen, in seconds since 1970'
complete -c sysring -n "__fish_sysring_using_subcommand tap" -l hex -d 'Show all contents as hexadecimal numbers'
complete -c sysring -n "__fish_sysring_using_subcommand tap" -l text -d 'Show all contents as text, whatever they are'
complete -c sysring -n "__fish_sysring_using_subcommand tap" -l json -d 'For programs: one object a line'
complete -c sysring -n "__fish_sysring_using_subcommand tap" -s h -l help -d 'Print help'
complete -c sysring -n "__fish_sysring_using_subcommand doctor" -l victim -d 'Take a sender\'s seat of this channel and wait to be killed' -r
complete -c sysring -n "__fish_sysring_using_subcommand doctor" -l json -d 'For programs'
complete -c sysring -n "__fish_sysring_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c sysring -n "__fish_sysring_using_subcommand bench" -l rounds -d 'How often everything is measured, round by round; shown are the median, the least and the most [default: 5]' -r
complete -c sysring -n "__fish_sysring_using_subcommand bench" -l time -d 'How long each measurement takes, 1ms to 1m [default: 300ms]' -r
complete -c sysring -n "__fish_sysring_using_subcommand bench" -l only -d 'What to measure' -r -f -a "throughput\t'One sender, one receiver, messages of several sizes'
latency\t'There and back again, over two channels'
scaling\t'Several senders, one receiver'"
complete -c sysring -n "__fish_sysring_using_subcommand bench" -l senders -d 'Numbers of senders to one receiver' -r
complete -c sysring -n "__fish_sysring_using_subcommand bench" -l plot -d 'Also draw the results, as .svg or .png; may be given several times' -r
complete -c sysring -n "__fish_sysring_using_subcommand bench" -l quick -d 'A few seconds in all: 3 rounds of 30ms unless said otherwise; the figures are rougher'
complete -c sysring -n "__fish_sysring_using_subcommand bench" -l json -d 'For programs'
complete -c sysring -n "__fish_sysring_using_subcommand bench" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sysring -n "__fish_sysring_using_subcommand completions" -s h -l help -d 'Print help'
complete -c sysring -n "__fish_sysring_using_subcommand demo" -l seconds -d 'How long it runs' -r
complete -c sysring -n "__fish_sysring_using_subcommand demo" -s h -l help -d 'Print help'
