# Completion of netjail for fish: netjail completion fish | source, or a file
# netjail.fish in ~/.config/fish/completions.
#
# netjail says what may come next. Nothing that was typed is evaluated. Behind
# the command that is to run its own completion goes on.

function __netjail_next
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program $words[1]
    command -q $program; or set program netjail
    set -l reply (command $program __complete $words[2..-1] "$current" 2>/dev/null)
    set -q reply[1]; or return
    set -l directive (string replace -- : '' $reply[-1])
    set -e reply[-1]

    if test (math "bitand($directive, 128)") -ne 0
        set -l from (math (count $words) - $reply[1] + 1)
        set -l rest (string escape -- $words[$from..-1]) "$current"
        complete -C "$rest"
    else if set -q reply[1]
        string match -qr -- '^--[^=]*=' $current
        and set -l flag (string replace -r -- '=.*' '=' $current)
        for line in $reply
            echo "$flag$line"
        end
    else if test (math "bitand($directive, 4)") -eq 0
        __fish_complete_path "$current"
    end
end

complete -c netjail -f -k -a '(__netjail_next)'
