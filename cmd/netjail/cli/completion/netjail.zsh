#compdef netjail
# Completion of netjail for zsh: source <(netjail completion zsh), or a file
# named _netjail in a directory of $fpath.
#
# netjail says what may come next. Nothing that was typed is evaluated. Behind
# the command that is to run its own completion goes on.

_netjail() {
    local program=${(Q)words[1]} line text note
    local -a reply items options
    local -i directive behind
    (( $+commands[$program] )) || [[ -x $program ]] || program=netjail
    reply=("${(@f)$("$program" __complete "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    [[ $reply[-1] == :<-> ]] || return 1
    directive=${reply[-1]#:}
    reply[-1]=()

    if (( directive & 128 )); then
        behind=$reply[1]
        words=("${(@)words[CURRENT-behind,-1]}")
        (( CURRENT = behind + 1 ))
        _normal
        return
    fi

    [[ $PREFIX != --*=* ]] || compset -P '*='
    for line in "${(@)reply:#}"; do
        text=${line%%$'\t'*}
        note=${line#"$text"}
        text=${text//\\/\\\\}
        items+=("${text//:/\\:}${note/#$'\t'/:}")
    done
    (( directive & 2 )) && options+=(-S '')
    (( directive & 32 )) && options=(-V netjail "${(@)options}")
    if (( $#items )); then
        _describe -t netjail 'netjail' items "${(@)options}"
    elif (( ! (directive & 4) )); then
        _files
    else
        return 1
    fi
}

if [[ $funcstack[1] == _netjail ]]; then
    _netjail "$@"
elif (( $+functions[compdef] )); then
    compdef _netjail netjail
fi
