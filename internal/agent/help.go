package agent

import (
	"fmt"
	"slices"
	"strings"

	"acrpromote/internal/manual"
	"acrpromote/internal/outcome"
	"acrpromote/internal/rule"
)

var actionHelp = []struct{ name, help string }{
	{Seal, "Resolve the tag that the build pushed, attach a seal record, lock the image, and show what to approve."},
	{Promote, "After approval, add a tag in the same registry or, with a flow file, copy the image to a more trusted registry."},
	{InvertedPush, "After approval, copy a released image to one or more less trusted registries."},
	{Plan, "Before the approval: show what the action that the inputs describe would do, which rules are violated, and which wait for an approval. Changes nothing."},
	{Verify, "Succeed only if the action that the inputs describe would be executed. Changes nothing."},
	{Audit, "Succeed only if everything has arrived, by digest, at every target. Changes nothing."},
	{VerifyReceipt, "Succeed only if the image has a signed receipt of its approval that meets the expectations. Reads from the image's own registry alone. Changes nothing."},
	{Trace, "Show the life of an image from the registries that are named: pushed, sealed, approved, promoted, and where it is now. Changes nothing."},
	{Recall, "After approval, withdraw an image from every registry that it may have been copied to: attach a recall record at the source, then disable reads. With --lift, undo that."},
	{Doctor, "Find where the configuration of Azure is wider than the flows need: who can write to and read the PROD registry, open networks, ways around an approval. Reads only."},
	{Check, "Report all mistakes in a flow file, and the direction of each flow. Uses no network."},
	{Code, "Compute an approval code, without a network: of one digest (sha256:…), of a set of images (REPOSITORY@sha256:… for each), or of the plan in a result.json."},
	{Report, "Show stored results, of one step or of several as one report: as text, HTML, Markdown, JUnit XML, SARIF or JSON. Uses no network."},
	{Init, "Ask a few questions, then write a flow file, a pipeline and the commands that grant the roles."},
	{Completion, "Write a script that completes command lines in a shell: " + strings.Join(Shells, ", ") + "."},
	{Help, "Show this text, the help for an action, or the meaning of a rule or an outcome and what to do."},
	{Version, "Show the version."},
}

// HelpText returns the text of `help` and `help TOPIC`, wrapped to width columns.
// Help for actions is generated from the table of inputs; all other topics are
// entries of the manual.
func HelpText(topic string, width int) string {
	width = min(max(width, 60), 120)
	if entry, known := manual.Entry(topic, width); known && !slices.Contains(AllActions, topic) {
		return entry
	}
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
				fmt.Fprintf(&b, "Usage: acrpromote %s%s\n\n", topic, synopsis(topic))
				writeEntry(&b, topic, a.help, 15, width)
			}
		}
	}
	flags := 0
	for _, in := range Inputs {
		if in.Name == "action" || topic != "" && !in.UsedBy(topic) {
			continue
		}
		if flags++; flags == 1 && topic != "" {
			fmt.Fprintf(&b, "\nFlags of %s\n", topic)
		}
		writeEntry(&b, "--"+in.Name+in.form(), in.help(topic)+in.defaultHelp(), 6, width)
	}
	if flags > 0 {
		b.WriteString("\nA list has one entry per line, or the flag is repeated. An empty value counts as\nnot given.\n")
	}
	if topic == Help {
		writeTopics(&b, width)
	}
	writeExamples(&b, topic)
	if flags > 0 {
		b.WriteString("\nExit codes: 0 done, 1 failed, 2 misuse, 3 refused, 4 partial, 130 cancelled.\n")
	}
	if address := manual.Address(); address != "" && (topic == "" || topic == Help) {
		b.WriteString("\nDocumentation: " + address + "\n")
	}
	return b.String()
}

// helpTopics returns the topics of help: actions, rules, outcomes, and what else
// the manual has.
func helpTopics() []string { return slices.Concat(AllActions, manual.Topics()) }

// writeTopics lists the topics that are not actions.
func writeTopics(b *strings.Builder, width int) {
	var rules, outcomes, others []string
	for _, name := range rule.All {
		rules = append(rules, string(name))
	}
	for _, o := range outcome.All {
		outcomes = append(outcomes, string(o))
	}
	for _, topic := range manual.Topics() {
		if !slices.Contains(rules, topic) && !slices.Contains(outcomes, topic) {
			others = append(others, topic)
		}
	}
	for _, group := range []struct {
		title  string
		topics []string
	}{{"Rules", rules}, {"Outcomes", outcomes}, {"Causes of errors", others}} {
		b.WriteString("\n" + group.title + "\n")
		writeEntry(b, "", strings.Join(group.topics, ", "), 2, width)
	}
}

func synopsis(topic string) string {
	text := ""
	if a, takes := arguments[topic]; takes {
		text = " " + a.form
		if a.optional {
			text = " [" + a.form + "]"
		}
	}
	if topic != Help && topic != Version && topic != Completion {
		text += " [--flag value …]"
	}
	return text
}

// help returns the help for an input as used by an action.
func (in Input) help(action string) string {
	if in.Name == "output" && (action == Check || action == Code) {
		return "What to write to standard output: text, or JSON."
	}
	return in.Help
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
	if len(line)+1 > indent && term != "" {
		b.WriteString(line + "\n")
		line = ""
	}
	for word := range strings.FieldsSeq(text) {
		switch {
		case strings.TrimSpace(line) == "":
			line = strings.Repeat(" ", indent) + word
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
