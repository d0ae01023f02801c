# Completion of netjail for bash: source <(netjail completion bash)
#
# netjail says what may come next. Nothing that was typed is evaluated: $(word)
# is handed over as it stands. Behind the command that is to run its own
# completion goes on, if the package bash-completion is there, or file names.

_netjail() {
    local rest=${COMP_LINE:0:COMP_POINT} blank word i
    local -a words=() starts=() reply=() notes=()
    COMPREPLY=()
    # Bash breaks words at : and @ as well: put them together again.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        blank=${rest%%[![:blank:]]*} rest=${rest#"${rest%%[![:blank:]]*}"}
        word=${COMP_WORDS[i]}
        ((i < COMP_CWORD)) || word=$rest
        [[ $word != [\<\>]* ]] || return 0 # redirected: file names
        if [[ $i == 0 || -n $blank ]]; then
            words+=("$word") starts+=("$i")
        else
            words[${#words[@]} - 1]+=$word
        fi
        rest=${rest#"$word"}
    done

    local cur=${words[${#words[@]} - 1]} before= flag= quote=
    [[ $cur != [\"\']* ]] || quote=${cur:0:1}
    words=("${words[@]//[\\\"\']/}")
    cur=${words[${#words[@]} - 1]}
    # Only what is behind the last such character is replaced.
    [[ $quote ]] || before=${cur%"${cur##*[$COMP_WORDBREAKS]}"}
    before=${before%@} # which readline counts to what it replaces

    local program=$1
    type -P -- "$program" >/dev/null || program=netjail # an alias
    while IFS= read -r word; do
        reply+=("$word")
    done < <("$program" __complete "${words[@]:1}" 2>/dev/null)
    ((${#reply[@]})) || return 0
    i=$((${#reply[@]} - 1))
    local -i directive=${reply[i]#:}
    unset "reply[$i]"

    if ((directive & 128)); then # behind the command
        i=${starts[${#words[@]} - 1 - reply[0]]}
        if declare -F _comp_command_offset >/dev/null; then
            _comp_command_offset "$i"
        elif declare -F _command_offset >/dev/null; then
            _command_offset "$i"
        fi
        return
    fi
    ((!(directive & 2))) || compopt -o nospace 2>/dev/null
    ((!(directive & 4))) || compopt +o default 2>/dev/null
    ((!(directive & 32))) || compopt -o nosort 2>/dev/null

    local -i longest=0 room
    [[ $cur != --*=* ]] || flag=${cur%%=*}= # netjail says what may be behind it
    for word in "${reply[@]}"; do
        notes+=("${word#"${word%%$'\t'*}"}")
        word=$flag${word%%$'\t'*}
        word=${word#"$before"}
        ((${#word} <= longest)) || longest=${#word}
        COMPREPLY+=("$word")
    done
    if ((${#COMPREPLY[@]} == 1)); then
        [[ $quote ]] || printf -v "COMPREPLY[0]" %q "${COMPREPLY[0]}"
        return 0
    fi
    case ${COMP_TYPE-} in 33 | 63 | 64) ;; *) return 0 ;; esac
    for i in "${!COMPREPLY[@]}"; do # they are listed: with what they are
        word=${notes[i]#$'\t'} room=$((${COLUMNS:-80} - longest - 4))
        ((room > 8)) && [[ $word ]] || continue
        ((${#word} <= room)) || word=${word:0:room - 3}...
        printf -v "COMPREPLY[$i]" '%-*s  (%s)' "$longest" "${COMPREPLY[i]}" "$word"
    done
}

complete -o default -F _netjail netjail
