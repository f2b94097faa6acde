package fakeagent

import (
	"bufio"
	"bytes"
	"io"
	"strings"
)

const commandPrefix = "##vso["

// Command is a logging command, as the agent finds it in a line.
type Command struct {
	Area, Event string
	Properties  map[string]string // by name in lower case
	Data        string
}

// Name is the command's name, such as task.complete.
func (c Command) Name() string { return c.Area + "." + c.Event }

// ParseCommand finds the first command of a line, wherever in the line it is.
func ParseCommand(line string) (Command, bool) {
	_, rest, found := strings.Cut(line, commandPrefix)
	if !found {
		return Command{}, false
	}
	head, data, found := strings.Cut(rest, "]")
	if !found {
		return Command{}, false
	}
	name, properties, _ := strings.Cut(head, " ")
	area, event, found := strings.Cut(name, ".")
	if !found || area == "" || event == "" || strings.Contains(event, ".") {
		return Command{}, false
	}
	c := Command{Area: area, Event: event, Properties: map[string]string{}, Data: unescape(data)}
	for property := range strings.SplitSeq(strings.TrimSpace(properties), ";") {
		if key, value, found := strings.Cut(property, "="); found && key != "" {
			c.Properties[strings.ToLower(key)] = unescape(value)
		}
	}
	return c, true
}

// unescape goes in the agent's order, one escape after the other over the whole
// text, the percent sign last.
func unescape(text string) string {
	for _, escape := range [][2]string{{"%3B", ";"}, {"%0D", "\r"}, {"%0A", "\n"}, {"%5D", "]"}, {"%AZP25", "%"}} {
		text = strings.ReplaceAll(text, escape[0], escape[1])
	}
	return text
}

// Lines returns the lines of an output, as the agent ends them.
func Lines(output string) []string {
	var lines []string
	readLines(strings.NewReader(output), func(line string) { lines = append(lines, line) })
	return lines
}

// readLines hands on the lines of a stream until it ends. A line ends with a
// line feed, a carriage return, or both.
func readLines(stream io.Reader, line func(string)) {
	scanner := bufio.NewScanner(stream)
	scanner.Buffer(make([]byte, 64<<10), 64<<20)
	scanner.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		at := bytes.IndexAny(data, "\r\n")
		switch {
		case at < 0 && atEOF && len(data) > 0:
			return len(data), data, nil
		case at < 0:
			return 0, nil, nil
		case data[at] == '\n':
			return at + 1, data[:at], nil
		case at+1 < len(data) && data[at+1] == '\n':
			return at + 2, data[:at], nil
		case at+1 < len(data) || atEOF:
			return at + 1, data[:at], nil
		}
		return 0, nil, nil // what follows the carriage return decides
	})
	for scanner.Scan() {
		line(scanner.Text())
	}
}
