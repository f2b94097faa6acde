package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// mostHead bounds the head of one request, in bytes.
const mostHead = 64 << 10

// scanner follows the requests on one HTTP/1.1 connection as their bytes go
// by, and changes nothing. Bodies are skipped by count, not looked at.
type scanner struct {
	// request is called with the method and target of each, body with the
	// bytes of its body as they come.
	request func(method, target string)
	body    func(bytes int64)

	state   scanState
	pending []byte // a head or line that has not arrived whole
	left    int64  // of a body or chunk
}

type scanState int

const (
	inHead scanState = iota
	inBody
	inChunkSize
	inChunk
	inChunkEnd
	inTrailer
)

// feed takes the next bytes. After an error nothing more can be told of this
// connection.
func (s *scanner) feed(p []byte) error {
	for len(p) > 0 {
		switch s.state {
		case inBody, inChunk:
			n := min(s.left, int64(len(p)))
			s.skip(n)
			p = p[n:]
		case inHead:
			end := "\r\n\r\n"
			before := len(s.pending)
			// An end may lie across the border of two reads.
			from := max(0, before-len(end)+1)
			s.pending = append(s.pending, p...)
			at := bytes.Index(s.pending[from:], []byte(end))
			if at < 0 {
				if len(s.pending) > mostHead {
					return fmt.Errorf("a request's head has more than %d bytes", mostHead)
				}
				return nil
			}
			whole := from + at + len(end)
			p = p[whole-before:]
			head := string(s.pending[:whole])
			s.pending = s.pending[:0]
			if err := s.head(head); err != nil {
				return err
			}
		default:
			at := bytes.IndexByte(p, '\n')
			if at < 0 {
				s.pending = append(s.pending, p...)
				if len(s.pending) > mostHead {
					return fmt.Errorf("a line between chunks has more than %d bytes", mostHead)
				}
				return nil
			}
			line := strings.TrimRight(string(append(s.pending, p[:at]...)), "\r")
			p = p[at+1:]
			s.pending = s.pending[:0]
			if err := s.line(line); err != nil {
				return err
			}
		}
	}
	return nil
}

// rest is how much of a body is still to come.
func (s *scanner) rest() int64 {
	if s.state == inBody || s.state == inChunk {
		return s.left
	}
	return 0
}

// skip tells that bytes of the body went by unseen; at most rest.
func (s *scanner) skip(n int64) {
	s.left -= n
	s.body(n)
	if s.left > 0 {
		return
	}
	if s.state == inChunk {
		s.state = inChunkEnd
	} else {
		s.state = inHead
	}
}

func (s *scanner) head(head string) error {
	lines := strings.Split(strings.TrimLeft(head, "\r\n"), "\r\n")
	words := strings.Fields(lines[0])
	if len(words) != 3 || !strings.HasPrefix(words[2], "HTTP/1.") {
		return fmt.Errorf("%q begins no HTTP/1 request", lines[0])
	}
	s.request(words[0], words[1])
	s.state, s.left = inHead, 0
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "content-length":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 {
				return fmt.Errorf("%q is no length", value)
			}
			if n > 0 {
				s.state, s.left = inBody, n
			}
		case "transfer-encoding":
			if strings.EqualFold(value, "chunked") {
				s.state = inChunkSize
				return nil
			}
		}
	}
	return nil
}

func (s *scanner) line(line string) error {
	switch s.state {
	case inChunkSize:
		size, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseInt(strings.TrimSpace(size), 16, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is no size of a chunk", line)
		}
		if s.state, s.left = inChunk, n; n == 0 {
			s.state = inTrailer
		}
	case inChunkEnd:
		s.state = inChunkSize
	case inTrailer:
		if line == "" {
			s.state = inHead
		}
	}
	return nil
}
