package agent

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// TaskResult is what task.complete bears, in the agent's words.
type TaskResult string

const (
	Succeeded           TaskResult = "Succeeded"
	SucceededWithIssues TaskResult = "SucceededWithIssues"
	Failed              TaskResult = "Failed"
	Canceled            TaskResult = "Canceled"
)

// Outputs are the variables that the task sets, and no others.
var Outputs = []string{"digest", "image", "changed", "report"}

// Commands speaks to the agent in logging commands. Outside a pipeline it
// writes warnings, errors and debug lines as plain lines, and nothing else.
type Commands struct {
	log      *Log
	pipeline bool
	debug    bool

	mu       sync.Mutex
	complete bool
}

// NewCommands writes through log; debug lets Debug through at a prompt (in a
// pipeline the agent itself shows or hides debug lines).
func NewCommands(log *Log, pipeline, debug bool) *Commands {
	return &Commands{log: log, pipeline: pipeline, debug: debug}
}

// Debug tells a detail that is read only when something is looked for.
func (c *Commands) Debug(text string) {
	switch {
	case c.pipeline:
		c.send("task.debug", nil, Harmless(text))
	case c.debug:
		c.log.Line("debug: " + text)
	}
}

// Warning makes an issue of the run.
func (c *Commands) Warning(text string) { c.issue("warning", text) }

// Error makes an issue of the run.
func (c *Commands) Error(text string) { c.issue("error", text) }

func (c *Commands) issue(kind, text string) {
	if !c.pipeline {
		c.log.Line(kind + ": " + text)
		return
	}
	c.send("task.logissue", []property{{"type", kind}}, Harmless(text))
}

// SetProgress tells how far the step has come.
func (c *Commands) SetProgress(percent int, text string) {
	if c.pipeline {
		c.send("task.setprogress", []property{{"value", strconv.Itoa(min(max(percent, 0), 100))}}, Harmless(text))
	}
}

// SetVariable sets one of the four outputs.
func (c *Commands) SetVariable(name, value string) error {
	for _, o := range Outputs {
		if o == name {
			if c.pipeline {
				c.send("task.setvariable", []property{{"variable", name}, {"isOutput", "true"}}, value)
			}
			return nil
		}
	}
	return fmt.Errorf("%s is no output variable of this task", quote(name))
}

// UploadSummary shows a Markdown file on the run's page. The file must exist:
// the agent fails the task otherwise.
func (c *Commands) UploadSummary(path string) {
	if c.pipeline {
		c.send("task.uploadsummary", nil, path)
	}
}

// Complete ends the task with a result; the first call counts, because the
// agent would merge several to the worst.
func (c *Commands) Complete(result TaskResult, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.complete || !c.pipeline {
		return
	}
	c.complete = true
	c.send("task.complete", []property{{"result", string(result)}}, Harmless(text))
}

type property struct{ name, value string }

func (c *Commands) send(command string, properties []property, data string) {
	c.log.raw(encode(command, properties, data))
}

// The agent undoes ';', CR, LF and ']' everywhere, data included, and %AZP25
// last (microsoft/azure-pipelines-agent, CommandStringConvertor): so '%' is
// escaped first.
var (
	escapeData     = strings.NewReplacer("%", "%AZP25", "\r", "%0D", "\n", "%0A")
	escapeProperty = strings.NewReplacer("%", "%AZP25", "\r", "%0D", "\n", "%0A", "]", "%5D", ";", "%3B")
)

func encode(command string, properties []property, data string) string {
	var b strings.Builder
	b.WriteString("##vso[" + command)
	for i, p := range properties {
		if i == 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p.name + "=" + escapeProperty.Replace(p.value) + ";")
	}
	b.WriteByte(']')
	b.WriteString(escapeData.Replace(data))
	return b.String()
}
