package agent

import (
	"fmt"
	"strings"
)

var actionHelp = []struct{ name, help string }{
	{Seal, "resolve the tag that the build pushed, attach a seal record, lock it, and show what to approve"},
	{Promote, "after approval: a further tag in the same registry, or, by a flow, a copy to one of more trust"},
	{InvertedPush, "after approval: copy a released image to one or many less trusted registries"},
	{Verify, "change nothing; succeed only if the action that the inputs describe would be carried out"},
	{Audit, "change nothing; succeed only if everything has arrived, by digest, in every target"},
	{Check, "read the flow file and tell everything that is wrong with it; asks no network"},
	{Init, "ask a few questions, and write a flow file, a pipeline and the commands that grant the roles"},
	{Help, "this text, or `help ACTION`"},
	{Version, "the version of the program"},
}

// HelpText is what `help` and `help ACTION` print, made from the table of
// inputs and wrapped to width columns.
func HelpText(topic string, width int) string {
	width = min(max(width, 60), 120)
	var b strings.Builder
	b.WriteString("acrpromote moves container images between registries, by digest and on\nsomebody's word.\n\n")
	if topic == "" {
		b.WriteString("Usage: acrpromote ACTION [--flag value …]\n\nActions\n")
		for _, a := range actionHelp {
			writeEntry(&b, a.name, a.help, 15, width)
		}
		b.WriteString("\nFlags (the same names are the task's inputs)\n")
	} else {
		for _, a := range actionHelp {
			if a.name == topic {
				fmt.Fprintf(&b, "Usage: acrpromote %s [--flag value …]\n\n", topic)
				writeEntry(&b, topic, a.help, 15, width)
			}
		}
		fmt.Fprintf(&b, "\nFlags that %s takes\n", topic)
	}
	for _, in := range Inputs {
		if in.Name == "action" || topic != "" && !in.Takes(topic) {
			continue
		}
		writeEntry(&b, "--"+in.Name+in.form(), in.Help+in.defaultHelp(), 6, width)
	}
	b.WriteString("\nLists take line feeds, or the flag is repeated. Empty means not given.\n")
	b.WriteString("Exit codes: 0 done, 1 failed, 2 misuse, 3 refused, 4 partial, 130 cancelled.\n")
	return b.String()
}

func (in Input) form() string {
	switch in.Type {
	case Boolean:
		return "[=true|false]"
	case Pick:
		return " " + strings.Join(in.Picks, "|")
	case Lines:
		return " LINES"
	case Count:
		return " N"
	case Span:
		return " DURATION"
	case Pattern:
		return " REGEXP"
	case Path:
		return " PATH"
	case ARM, DockerLines:
		return " ID"
	}
	return " VALUE"
}

func (in Input) defaultHelp() string {
	if in.Default == "" {
		return ""
	}
	return " Default: " + in.Default + "."
}

// writeEntry writes a term and, from column indent on, its explanation.
func writeEntry(b *strings.Builder, term, text string, indent, width int) {
	line := "  " + term
	if len(line)+1 > indent {
		b.WriteString(line + "\n")
		line = ""
	}
	for word := range strings.FieldsSeq(text) {
		switch {
		case len(line) < indent:
			line += strings.Repeat(" ", indent-len(line)) + word
		case len(line)+1+len(word) > width:
			b.WriteString(line + "\n")
			line = strings.Repeat(" ", indent) + word
		default:
			line += " " + word
		}
	}
	b.WriteString(line + "\n")
}
