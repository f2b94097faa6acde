package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestScannerCountsRequestsHoweverTheyArrive(t *testing.T) {
	tests := map[string]struct {
		sent     string
		requests []string
		body     int64
	}{
		"no body":   {"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n", []string{"GET /v2/"}, 0},
		"a length":  {"PUT /x HTTP/1.1\r\ncontent-length: 5\r\n\r\nhelloHEAD /y HTTP/1.1\r\n\r\n", []string{"PUT /x", "HEAD /y"}, 5},
		"length 0":  {"POST /x HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET /y HTTP/1.1\r\n\r\n", []string{"POST /x", "GET /y"}, 0},
		"chunks":    {"PATCH /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;q=1\r\n0123456789\r\n0\r\n\r\nGET /y HTTP/1.1\r\n\r\n", []string{"PATCH /x", "GET /y"}, 15},
		"a trailer": {"PATCH /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n0\r\nDigest: 1\r\n\r\nGET /y HTTP/1.1\r\n\r\n", []string{"PATCH /x", "GET /y"}, 1},
		"a body like a head": {"PUT /x HTTP/1.1\r\nContent-Length: 19\r\n\r\nGET /z HTTP/1.1\r\n\r\nGET /y HTTP/1.1\r\n\r\n",
			[]string{"PUT /x", "GET /y"}, 19},
	}
	for name, test := range tests {
		for _, piece := range []int{1, 2, 3, 7, 1 << 20} {
			t.Run(fmt.Sprintf("%s in pieces of %d", name, piece), func(t *testing.T) {
				var requests []string
				var body int64
				s := &scanner{request: func(method, target string) { requests = append(requests, method+" "+target) }, body: func(n int64) { body += n }}
				for p := range slices.Chunk([]byte(test.sent), piece) {
					if err := s.feed(p); err != nil {
						t.Fatal(err)
					}
				}
				if !slices.Equal(requests, test.requests) || body != test.body {
					t.Errorf("%q with %d bytes of bodies, want %q with %d", requests, body, test.requests, test.body)
				}
			})
		}
	}
}

func TestScannerRefusesWhatIsNoRequest(t *testing.T) {
	for _, sent := range []string{
		"PRI * HTTP/2.0\r\n\r\n",
		"\x16\x03\x01\x02\x00\r\n\r\n",
		"PUT /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"GET /" + strings.Repeat("x", mostHead+10),
	} {
		s := &scanner{request: func(string, string) {}, body: func(int64) {}}
		if err := s.feed([]byte(sent)); err == nil {
			t.Errorf("%.40q was taken for a request", sent)
		}
	}
}

func TestSkippedBytesAreCounted(t *testing.T) {
	var body int64
	requests := 0
	s := &scanner{request: func(string, string) { requests++ }, body: func(n int64) { body += n }}
	if err := s.feed([]byte("PUT /x HTTP/1.1\r\nContent-Length: 1000\r\n\r\n12345")); err != nil {
		t.Fatal(err)
	}
	if s.rest() != 995 {
		t.Fatalf("%d bytes are to come, want 995", s.rest())
	}
	s.skip(995)
	if err := s.feed([]byte("GET /y HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if body != 1000 || requests != 2 {
		t.Errorf("%d bytes, %d requests", body, requests)
	}
}
