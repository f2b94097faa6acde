package fakeagent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// How long the agent waits after SIGINT, after SIGTERM, and for the streams of
// a node that has ended.
const (
	interruptGrace = 7500 * time.Millisecond
	terminateGrace = 2500 * time.Millisecond
	streamGrace    = 5 * time.Second
)

// Agent says how steps are run.
type Agent struct {
	Node    string // the program node
	Handler string // which of the task's handlers: Node20_1, Node24
	Folder  string // System.DefaultWorkingDirectory
	// Prepare changes how node is started; nil is not at all.
	Prepare func(*exec.Cmd)
}

// Step is a task under way.
type Step struct {
	command *exec.Cmd
	reader  *reader
	mu      sync.Mutex // over the reader
	streams chan struct{}
	ended   chan struct{}
	started time.Time

	cancelled chan struct{}
	once      sync.Once
	signals   []string // owned by the goroutine that sends them, until it has ended
	sent      chan struct{}
	first     time.Time
}

// Outcome is what the agent knows at the end of a step.
type Outcome struct {
	Record
	ExitCode int // of node; -1 where a signal ended it
	State    *os.ProcessState
	// Signals lists what had to be sent before node ended: SIGINT, SIGTERM,
	// SIGKILL.
	Signals []string
	// Held is true where a process still held node's streams some time after
	// node had ended, so that the agent went on without it.
	Held bool
	// FirstLine is the time from node's start to the first line that it, or a
	// process of its, wrote.
	FirstLine time.Duration
	// AfterCancel is the time from Cancel to node's end.
	AfterCancel time.Duration
}

// Start starts node on the task's launcher with this environment and the
// defaults of the task's inputs, and nothing to read on standard input.
func (a Agent) Start(t *Task, environ []string) (*Step, error) {
	target, ok := t.Handlers[a.Handler]
	if !ok {
		return nil, fmt.Errorf("the task %s has no handler %s", t.Name, a.Handler)
	}
	command := exec.Command(a.Node, filepath.Join(t.Folder, target))
	command.Env, command.Dir = t.withDefaults(environ), a.Folder
	if a.Prepare != nil {
		a.Prepare(command)
	}
	return Start(command, t.Settable)
}

// Start starts any program as the agent starts node: it reads what the program
// writes, line by line. Settable lists the variables that the step may set; nil
// is all.
func Start(command *exec.Cmd, settable []string) (*Step, error) {
	s := &Step{
		command: command,
		reader:  newReader(settable, command.Env), streams: make(chan struct{}), ended: make(chan struct{}),
		cancelled: make(chan struct{}), sent: make(chan struct{}),
	}
	var reading sync.WaitGroup
	var outputs, ours []*os.File
	for range 2 {
		read, write, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		outputs, ours = append(outputs, read), append(ours, write)
	}
	s.command.Stdout, s.command.Stderr = ours[0], ours[1]
	s.started = time.Now()
	err := s.command.Start()
	for _, w := range ours {
		w.Close()
	}
	if err != nil {
		for _, r := range outputs {
			r.Close()
		}
		return nil, fmt.Errorf("starting %s: %w", command.Path, err)
	}
	for _, r := range outputs {
		reading.Go(func() {
			defer r.Close()
			readLines(r, s.line)
		})
	}
	go func() {
		reading.Wait()
		close(s.streams)
	}()
	go func() {
		_ = s.command.Wait()
		close(s.ended)
	}()
	go s.stop()
	return s, nil
}

func (s *Step) line(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.first.IsZero() {
		s.first = time.Now()
	}
	s.reader.line(text)
}

// stop sends the signals of a cancelled step, to node alone.
func (s *Step) stop() {
	defer close(s.sent)
	select {
	case <-s.ended:
		return
	case <-s.cancelled:
	}
	for _, step := range []struct {
		name   string
		signal os.Signal
		grace  time.Duration
	}{{"SIGINT", os.Interrupt, interruptGrace}, {"SIGTERM", syscall.SIGTERM, terminateGrace}, {"SIGKILL", os.Kill, 0}} {
		if s.command.Process.Signal(step.signal) != nil {
			return // it has ended
		}
		s.signals = append(s.signals, step.name)
		select {
		case <-s.ended:
			return
		case <-time.After(step.grace):
		}
	}
}

// Cancel has the step stopped as the agent stops a cancelled job's.
func (s *Step) Cancel() { s.once.Do(func() { close(s.cancelled) }) }

// PID is the process id of node.
func (s *Step) PID() int { return s.command.Process.Pid }

// Kill ends node at once, as a machine short of memory does.
func (s *Step) Kill() { _ = s.command.Process.Kill() }

// Streams is closed when both streams have ended: then no process is left that
// node has started, for each holds them.
func (s *Step) Streams() <-chan struct{} { return s.streams }

// Wait returns what the agent knows when it goes on to the next step.
func (s *Step) Wait() Outcome {
	var cancelledAt time.Time
	select {
	case <-s.ended:
	case <-s.cancelled:
		cancelledAt = time.Now()
		<-s.ended
	}
	o := Outcome{ExitCode: s.command.ProcessState.ExitCode(), State: s.command.ProcessState}
	if !cancelledAt.IsZero() {
		o.AfterCancel = time.Since(cancelledAt)
	}
	<-s.sent
	o.Signals = s.signals
	select {
	case <-s.streams:
	case <-time.After(streamGrace):
		o.Held = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.ExitCode != 0 {
		// The agent takes this for its own failure, whatever the task reported.
		s.reader.record.Errors = append(s.reader.record.Errors, fmt.Sprintf("node ended with exit code %d", o.ExitCode))
		s.reader.record.Result = "Failed"
	}
	s.reader.record.Result = merge(s.reader.record.Result, results[0])
	select {
	case <-s.cancelled:
		s.reader.record.Result = "Canceled"
	default:
	}
	o.Record = s.reader.record
	if !s.first.IsZero() {
		o.FirstLine = s.first.Sub(s.started)
	}
	return o
}
