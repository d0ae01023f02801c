package manual

import "strings"

// escape makes text stand for itself in roff. A hyphen that somebody may copy
// to a shell must be ASCII's.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(s)
}

// line is one line of text, which must not look like a request.
func line(s string) string {
	if s == "" {
		return ""
	}
	if s = escape(s); s[0] == '.' {
		s = `\&` + s
	}
	return s + "\n"
}

// prose is text as it stands in help: paragraphs, and indented lines that keep
// their form.
func prose(s string) string {
	var b strings.Builder
	var held []string
	flush := func() {
		if len(held) > 0 {
			b.WriteString(literal(held))
		}
		held = nil
	}
	for s := range strings.SplitSeq(strings.TrimSpace(s), "\n") {
		switch {
		case strings.HasPrefix(s, "  "):
			held = append(held, s)
			continue
		case strings.TrimSpace(s) == "":
			flush()
			if !strings.Contains(b.String(), "\n.PP\n") {
				stop(&b) // the first paragraph may be a headline
			}
			b.WriteString(".PP\n")
			continue
		}
		flush()
		b.WriteString(line(s))
	}
	flush()
	stop(&b)
	out := b.String()
	for strings.Contains(out, ".PP\n.PP\n") {
		out = strings.ReplaceAll(out, ".PP\n.PP\n", ".PP\n")
	}
	return strings.ReplaceAll(out, ".PP\n.sp\n", ".sp\n")
}

// stop ends a sentence that has no end.
func stop(b *strings.Builder) {
	s := strings.TrimSuffix(b.String(), "\n")
	if s == "" || strings.HasSuffix(s, "\n.RE") || strings.ContainsAny(s[len(s)-1:], ".:") {
		return
	}
	b.Reset()
	b.WriteString(s + ".\n")
}

// literal is lines as they stand, without what all are indented by.
func literal(lines []string) string {
	var b strings.Builder
	b.WriteString(".sp\n.RS 4\n.EX\n")
	for _, s := range lines {
		s = strings.TrimPrefix(s, "  ")
		if s == "" {
			s = `\&`
			b.WriteString(s + "\n")
			continue
		}
		b.WriteString(line(s))
	}
	b.WriteString(".EE\n.RE\n")
	return b.String()
}
