package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"acrpromote/internal/testimage"
)

// The floor is a program that copies with the requests that cannot be left out
// and nothing else: no retries, no other media types, no sentence when
// something is wrong. Blobs stream and are hashed; eight things happen at once;
// connections stay warm; whatever does not wait for an answer does not wait.
// What it takes is what the network and the registries take.
//
// It knows the registries of this bench: they keep no lists of referrers.
type floor struct {
	from, to  string
	scheme    string
	referrers bool
	client    *http.Client
	slots     chan struct{}

	mu    sync.Mutex
	blobs map[string]*flight
}

// flight is a blob on its way, or arrived in a repository.
type flight struct {
	repository string
	done       chan struct{}
	err        error
}

// runFloor is the program: pairs are source=target, each repository:tag.
func runFloor(args []string) error {
	flags := flag.NewFlagSet("floor", flag.ContinueOnError)
	from := flags.String("from", "", "the source registry, host:port")
	to := flags.String("to", "", "the target registry, host:port")
	jobs := flags.Int("jobs", 8, "how much happens at once")
	referrers := flags.Bool("referrers", false, "bring along what is attached")
	secure := flags.Bool("tls", false, "both registries speak HTTPS")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return newFloor(*from, *to, *jobs, *referrers, *secure, nil).run(context.Background(), flags.Args())
}

// newFloor makes one; without roots it believes whom the system believes.
func newFloor(from, to string, jobs int, referrers, secure bool, roots *x509.CertPool) *floor {
	f := &floor{from: from, to: to, scheme: "http", referrers: referrers, slots: make(chan struct{}, jobs), blobs: map[string]*flight{}}
	if secure {
		f.scheme = "https"
	}
	f.client = &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 4 * jobs,
		DisableCompression:  true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return wide{c}, nil
		},
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, RootCAs: roots}}
			c, err := d.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return wide{c}, nil
		},
	}}
	return f
}

func (f *floor) run(ctx context.Context, pairs []string) error {
	var copies []func() error
	for _, pair := range pairs {
		source, target, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("%q is not source=target", pair)
		}
		copies = append(copies, func() error { return f.copy(ctx, source, target) })
	}
	return all(copies...)
}

// wide is a connection that is written to in large pieces: net/http itself
// copies 32 KiB at a time.
type wide struct{ net.Conn }

var wideBuffers = sync.Pool{New: func() any { b := make([]byte, 1<<20); return &b }}

func (w wide) ReadFrom(r io.Reader) (n int64, err error) {
	buffer := wideBuffers.Get().(*[]byte)
	defer wideBuffers.Put(buffer)
	for {
		got, err := r.Read(*buffer)
		if got > 0 {
			put, err := w.Conn.Write((*buffer)[:got])
			n += int64(put)
			if err != nil {
				return n, err
			}
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// all does everything side by side and waits for all of it.
func all(work ...func() error) error {
	var group sync.WaitGroup
	failures := make([]error, len(work))
	for i, w := range work {
		group.Go(func() { failures[i] = w() })
	}
	group.Wait()
	return errors.Join(failures...)
}

func each[T any](items []T, work func(T) error) error {
	list := make([]func() error, len(items))
	for i, item := range items {
		list[i] = func() error { return work(item) }
	}
	return all(list...)
}

// slot holds one of the places while work goes on.
func (f *floor) slot(work func() error) error {
	f.slots <- struct{}{}
	defer func() { <-f.slots }()
	return work()
}

func (f *floor) call(ctx context.Context, method, host, path, mediaType string, body []byte, want ...int) (resp *http.Response, content []byte, err error) {
	address := path
	if host != "" {
		address = f.scheme + "://" + host + "/v2/" + path
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, reader)
	if err != nil {
		return nil, nil, err
	}
	if body != nil && mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	} else if mediaType != "" {
		req.Header.Set("Accept", mediaType)
	}
	resp, err = f.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if content, err = io.ReadAll(io.LimitReader(resp.Body, 4<<20)); err != nil {
		return nil, nil, err
	}
	for _, w := range want {
		if resp.StatusCode == w {
			return resp, content, nil
		}
	}
	return nil, nil, fmt.Errorf("%s %s answered %s: %s", method, address, resp.Status, content)
}

func (f *floor) small(ctx context.Context, method, host, path, mediaType string, body []byte, want ...int) (resp *http.Response, content []byte, err error) {
	err = f.slot(func() error {
		resp, content, err = f.call(ctx, method, host, path, mediaType, body, want...)
		return err
	})
	return resp, content, err
}

// transfer is one image on its way.
type transfer struct {
	*floor
	from, to string // repositories
	again    bool   // the root is there already
}

func (f *floor) copy(ctx context.Context, source, target string) error {
	t := &transfer{floor: f}
	var sourceTag, targetTag string
	t.from, sourceTag, _ = strings.Cut(source, ":")
	t.to, targetTag, _ = strings.Cut(target, ":")
	var root []byte
	var mediaType, there string
	tags := make(chan map[string]bool, 1)
	if f.referrers {
		// Which lists of referrers there are is known by the names of tags.
		go func() { tags <- t.tags(ctx) }()
	}
	err := all(func() error {
		resp, content, err := f.small(ctx, http.MethodGet, f.from, t.from+"/manifests/"+sourceTag, bothTypes, nil, http.StatusOK)
		if err == nil {
			root, mediaType = content, resp.Header.Get("Content-Type")
		}
		return err
	}, func() error {
		resp, _, err := f.small(ctx, http.MethodHead, f.to, t.to+"/manifests/"+targetTag, bothTypes, nil, http.StatusOK, http.StatusNotFound)
		if err == nil {
			there = resp.Header.Get("Docker-Content-Digest")
		}
		return err
	})
	if err != nil {
		return err
	}
	digest := testimage.Digest(root)
	t.again = there == digest
	var d testimage.Manifest
	if err := json.Unmarshal(root, &d); err != nil {
		return err
	}
	work := []func() error{
		func() error { return each(d.Blobs(), func(b testimage.Descriptor) error { return t.blob(ctx, b) }) },
		func() error {
			return each(d.Manifests, func(c testimage.Descriptor) error { return t.bring(ctx, c.Digest, c.Digest) })
		},
	}
	if f.referrers {
		work = append(work, func() error {
			_, _, err := f.small(ctx, http.MethodGet, f.from, t.from+"/referrers/"+digest, testimage.IndexType, nil, http.StatusNotFound)
			return err
		}, func() error {
			known := <-tags
			subjects := []string{digest}
			for _, c := range d.Manifests {
				subjects = append(subjects, c.Digest)
			}
			return each(subjects, func(s string) error { return t.attached(ctx, s, known) })
		})
	}
	if err := all(work...); err != nil || t.again {
		return err
	}
	_, _, err = f.small(ctx, http.MethodPut, f.to, t.to+"/manifests/"+targetTag, mediaType, root, http.StatusCreated)
	return err
}

func (t *transfer) tags(ctx context.Context) map[string]bool {
	known := map[string]bool{}
	_, content, err := t.small(ctx, http.MethodGet, t.floor.from, t.from+"/tags/list", "", nil, http.StatusOK)
	var list struct{ Tags []string }
	if err == nil && json.Unmarshal(content, &list) == nil {
		for _, tag := range list.Tags {
			known[tag] = true
		}
	}
	return known
}

// attached brings what is attached to one manifest, and the list of it.
func (t *transfer) attached(ctx context.Context, subject string, known map[string]bool) error {
	tag := testimage.FallbackTag(subject)
	var work []func() error
	if cosign := tag + ".sig"; known[cosign] {
		work = append(work, func() error { return t.bring(ctx, cosign, cosign) })
	}
	if known[tag] {
		work = append(work, func() error { return t.list(ctx, tag) })
	}
	return all(work...)
}

func (t *transfer) list(ctx context.Context, tag string) error {
	var list, there []byte
	err := all(func() (err error) {
		_, list, err = t.small(ctx, http.MethodGet, t.floor.from, t.from+"/manifests/"+tag, testimage.IndexType, nil, http.StatusOK)
		return err
	}, func() (err error) {
		// Somebody else's entries would have to be kept.
		_, there, err = t.small(ctx, http.MethodGet, t.floor.to, t.to+"/manifests/"+tag, testimage.IndexType, nil, http.StatusOK, http.StatusNotFound)
		return err
	})
	if err != nil {
		return err
	}
	var d testimage.Manifest
	if err := json.Unmarshal(list, &d); err != nil {
		return err
	}
	if err := each(d.Manifests, func(r testimage.Descriptor) error { return t.bring(ctx, r.Digest, r.Digest) }); err != nil || bytes.Equal(list, there) {
		return err
	}
	_, _, err = t.small(ctx, http.MethodPut, t.floor.to, t.to+"/manifests/"+tag, testimage.IndexType, list, http.StatusCreated)
	return err
}

// bring copies one manifest with its blobs; what the target has already is
// only looked for.
func (t *transfer) bring(ctx context.Context, source, target string) error {
	if t.again {
		work := []func() error{func() error {
			_, _, err := t.small(ctx, http.MethodHead, t.floor.to, t.to+"/manifests/"+target, bothTypes, nil, http.StatusOK)
			return err
		}}
		if !strings.HasPrefix(source, "sha256:") {
			work = append(work, func() error {
				_, _, err := t.small(ctx, http.MethodHead, t.floor.from, t.from+"/manifests/"+source, bothTypes, nil, http.StatusOK)
				return err
			})
		}
		return all(work...)
	}
	byTag := !strings.HasPrefix(target, "sha256:")
	// A tag of the target is looked at first: somebody else's signatures may
	// be there, and are not to be overwritten.
	free := make(chan error, 1)
	go func() {
		if !byTag {
			free <- nil
			return
		}
		_, _, err := t.small(ctx, http.MethodHead, t.floor.to, t.to+"/manifests/"+target, bothTypes, nil, http.StatusNotFound)
		free <- err
	}()
	resp, content, err := t.small(ctx, http.MethodGet, t.floor.from, t.from+"/manifests/"+source, bothTypes, nil, http.StatusOK)
	if err != nil {
		return err
	}
	if !byTag && testimage.Digest(content) != source {
		return fmt.Errorf("%s is not what came", source)
	}
	var d testimage.Manifest
	if err := json.Unmarshal(content, &d); err != nil {
		return err
	}
	if err := each(d.Blobs(), func(b testimage.Descriptor) error { return t.blob(ctx, b) }); err != nil {
		return err
	}
	if err := <-free; err != nil {
		return err
	}
	_, _, err = t.small(ctx, http.MethodPut, t.floor.to, t.to+"/manifests/"+target, resp.Header.Get("Content-Type"), content, http.StatusCreated)
	return err
}

// blob brings a blob once into the registry, and mounts it from there on.
func (t *transfer) blob(ctx context.Context, d testimage.Descriptor) error {
	if t.again {
		return nil
	}
	t.mu.Lock()
	first, ok := t.blobs[d.Digest]
	if !ok {
		first = &flight{repository: t.to, done: make(chan struct{})}
		t.blobs[d.Digest] = first
	}
	t.mu.Unlock()
	if !ok {
		first.err = t.slot(func() error { return t.stream(ctx, d) })
		close(first.done)
		return first.err
	}
	<-first.done
	if first.err != nil || first.repository == t.to {
		return first.err
	}
	_, _, err := t.small(ctx, http.MethodPost, t.floor.to, t.to+"/blobs/uploads/?"+url.Values{"mount": {d.Digest}, "from": {first.repository}}.Encode(),
		"", []byte{}, http.StatusCreated)
	return err
}

func (t *transfer) stream(ctx context.Context, d testimage.Descriptor) error {
	var location string
	var body io.ReadCloser
	err := all(func() error {
		resp, _, err := t.call(ctx, http.MethodPost, t.floor.to, t.to+"/blobs/uploads/", "", []byte{}, http.StatusAccepted)
		if err != nil {
			return err
		}
		location, err = upload(resp, d.Digest)
		return err
	}, func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.scheme+"://"+t.floor.from+"/v2/"+t.from+"/blobs/"+d.Digest, nil)
		if err != nil {
			return err
		}
		resp, err := t.client.Do(req)
		if err != nil {
			return err
		}
		if body = resp.Body; resp.StatusCode != http.StatusOK {
			return fmt.Errorf("the blob %s answered %s", d.Digest, resp.Status)
		}
		return nil
	})
	if body != nil {
		defer body.Close()
	}
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, location, &hashed{source: body, sum: sha256.New(), want: d.Digest, left: d.Size})
	if err != nil {
		return err
	}
	req.ContentLength = d.Size
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := t.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("the upload of %s answered %s", d.Digest, resp.Status)
	}
	return nil
}

// hashed ends in an error instead of its last bytes if they are wrong.
type hashed struct {
	source io.Reader
	sum    hash.Hash
	want   string
	left   int64
}

func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.source.Read(p)
	h.sum.Write(p[:n])
	if h.left -= int64(n); h.left == 0 && n > 0 && "sha256:"+hex.EncodeToString(h.sum.Sum(nil)) != h.want {
		return 0, fmt.Errorf("%s is not what came", h.want)
	}
	return n, err
}

const bothTypes = testimage.IndexType + ", " + testimage.ManifestType

// patience bounds one call of a program: one that hangs has failed.
const patience = 5 * time.Minute

// upload is where the bytes of an upload go, by the response that opened it.
func upload(opened *http.Response, digest string) (string, error) {
	at, err := opened.Location()
	if err != nil {
		return "", fmt.Errorf("an upload has no location: %w", err)
	}
	query := at.Query()
	query.Set("digest", digest)
	at.RawQuery = query.Encode()
	return at.String(), nil
}
