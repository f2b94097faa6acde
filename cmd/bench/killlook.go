package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// part is one thing that a repository has or lacks.
type part struct{ kind, name string }

// The kinds of part.
const (
	tagPart      = "tag"      // name → digest
	manifestPart = "manifest" // digest
	blobPart     = "blob"     // digest
	entryPart    = "entry"    // list of attached manifests → digest
)

func arrow(from, to string) string { return from + " → " + to }

// view is what a repository showed at one look.
type view struct {
	root  string // what the image's tag points at; "" where the tag is not there
	parts map[part]bool
	sizes map[string]int64 // of blobs that are there
}

// lacks tells what of another view is not in this one, sorted.
func (v view) lacks(of view) []part {
	var missing []part
	for p := range of.parts {
		if !v.parts[p] {
			missing = append(missing, p)
		}
	}
	slices.SortFunc(missing, func(a, b part) int { return strings.Compare(a.kind+a.name, b.kind+b.name) })
	return missing
}

// lookAt asks a registry for its tags, for what lists of attached manifests
// name, and for each manifest and blob of an image.
func lookAt(ctx context.Context, host, repository string, i image) (view, error) {
	v := view{parts: map[part]bool{}, sizes: map[string]int64{}}
	tags, err := tagsOf(ctx, host, repository)
	if err != nil {
		return view{}, err
	}
	type answer struct {
		parts []part
		blob  string
		size  int64
		err   error
	}
	var asks []func() answer
	for _, tag := range tags {
		asks = append(asks, func() answer {
			digest, err := resolve(ctx, host, repository, tag)
			if digest == "" || err != nil {
				return answer{err: err}
			}
			if !isList(tag) {
				return answer{parts: []part{{tagPart, arrow(tag, digest)}}}
			}
			// A program may word its list as it likes: its entries count.
			var found answer
			seen := map[string]int{}
			for _, entry := range list(ctx, host, repository, tag) {
				name := arrow(tag, entry)
				if seen[entry]++; seen[entry] > 1 {
					name += fmt.Sprintf(", time %d", seen[entry])
				}
				found.parts = append(found.parts, part{entryPart, name})
			}
			return found
		})
	}
	for _, m := range i.manifests {
		asks = append(asks, func() answer {
			digest, err := resolve(ctx, host, repository, m)
			if digest != m || err != nil {
				return answer{err: err}
			}
			return answer{parts: []part{{manifestPart, m}}}
		})
	}
	for _, b := range i.blobs {
		asks = append(asks, func() answer {
			resp, err := ask(ctx, http.MethodHead, host, repository+"/blobs/"+b)
			if err != nil {
				return answer{err: err}
			}
			resp.Body.Close()
			switch resp.StatusCode {
			case http.StatusOK:
				return answer{parts: []part{{blobPart, b}}, blob: b, size: resp.ContentLength}
			case http.StatusNotFound:
				return answer{}
			}
			return answer{err: fmt.Errorf("the look for blob %s of %s was answered %s", b, repository, resp.Status)}
		})
	}
	answers := make([]answer, len(asks))
	var looking sync.WaitGroup
	room := make(chan struct{}, 8)
	for n, ask := range asks {
		looking.Go(func() {
			room <- struct{}{}
			answers[n] = ask()
			<-room
		})
	}
	looking.Wait()
	for _, f := range answers {
		if f.err != nil {
			return view{}, f.err
		}
		for _, p := range f.parts {
			v.parts[p] = true
			if digest, is := strings.CutPrefix(p.name, arrow(i.tag, "")); p.kind == tagPart && is {
				v.root = digest
			}
		}
		if f.blob != "" {
			v.sizes[f.blob] = f.size
		}
	}
	return v, nil
}

// isList reports whether a tag stands for a list of attached manifests.
func isList(tag string) bool {
	hex, is := strings.CutPrefix(tag, "sha256-")
	return is && len(hex) == 64
}

func tagsOf(ctx context.Context, host, repository string) ([]string, error) {
	resp, err := ask(ctx, http.MethodGet, host, repository+"/tags/list")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, nil
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the look for the tags of %s was answered %s", repository, resp.Status)
	}
	var answer struct{ Tags []string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 4<<20)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("the tags of %s: %w", repository, err)
	}
	return answer.Tags, nil
}

// describe tells parts for people: tags by name, of the others how many.
func describe(parts []part) string {
	var said []string
	number := map[string]int{}
	for _, p := range parts {
		if p.kind == tagPart {
			tag, _, _ := strings.Cut(p.name, arrow("", ""))
			if hex, is := strings.CutPrefix(tag, "sha256-"); is {
				_, suffix, _ := strings.Cut(hex, ".")
				tag = "sha256-…." + suffix
			}
			said = append(said, "the tag `"+tag+"`")
			continue
		}
		number[p.kind]++
	}
	for _, kind := range []string{manifestPart, blobPart, entryPart} {
		plural := map[string]string{manifestPart: "manifests", blobPart: "blobs", entryPart: "entries of lists"}[kind]
		switch n := number[kind]; {
		case n == 1 && kind == entryPart:
			said = append(said, "1 entry of a list")
		case n == 1:
			said = append(said, "1 "+kind)
		case n > 1:
			said = append(said, fmt.Sprintf("%d %s", n, plural))
		}
	}
	return strings.Join(said, ", ")
}
