package agent

import (
	"fmt"
	"strings"
)

var actionHelp = []struct{ name, help string }{
	{Seal, "Resolve the tag that the build pushed, attach a seal record, lock the image, and show what to approve."},
	{Promote, "After approval, add a tag in the same registry or, with a flow file, copy the image to a more trusted registry."},
	{InvertedPush, "After approval, copy a released image to one or more less trusted registries."},
	{Verify, "Succeed only if the action that the inputs describe would be executed. Changes nothing."},
	{Audit, "Succeed only if everything has arrived, by digest, at every target. Changes nothing."},
	{Check, "Report all mistakes in a flow file. Uses no network."},
	{Init, "Ask a few questions, then write a flow file, a pipeline and the commands that grant the roles."},
	{Help, "Show this text or, with `help ACTION`, the help for an action."},
	{Version, "Show the version."},
}

// HelpText returns the text of `help` and `help ACTION`, generated from the
// table of inputs and wrapped to width columns.
func HelpText(topic string, width int) string {
	width = min(max(width, 60), 120)
	var b strings.Builder
	b.WriteString("acrpromote moves container images between registries, by digest and after\napproval.\n\n")
	if topic == "" {
		b.WriteString("Usage: acrpromote ACTION [--flag value …]\n\nActions\n")
		for _, a := range actionHelp {
			writeEntry(&b, a.name, a.help, 15, width)
		}
		b.WriteString("\nFlags (the task's inputs have the same names)\n")
	} else {
		for _, a := range actionHelp {
			if a.name == topic {
				fmt.Fprintf(&b, "Usage: acrpromote %s%s\n\n", topic, arguments(topic))
				writeEntry(&b, topic, a.help, 15, width)
			}
		}
		if topic == Help || topic == Version {
			return b.String()
		}
		fmt.Fprintf(&b, "\nFlags of %s\n", topic)
	}
	for _, in := range Inputs {
		if in.Name == "action" || topic != "" && !in.UsedBy(topic) {
			continue
		}
		writeEntry(&b, "--"+in.Name+in.form(), in.Help+in.defaultHelp(), 6, width)
	}
	b.WriteString("\nA list has one entry per line, or the flag is repeated. An empty value counts as\nnot given.\n")
	b.WriteString("Exit codes: 0 done, 1 failed, 2 misuse, 3 refused, 4 partial, 130 cancelled.\n")
	return b.String()
}

func arguments(topic string) string {
	switch topic {
	case Help:
		return " [ACTION]"
	case Version:
		return ""
	}
	return " [--flag value …]"
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

// writeEntry writes a term and its explanation, which begins at column indent.
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
