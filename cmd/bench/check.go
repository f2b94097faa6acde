package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"

	"acrpromote/internal/testimage"
)

// leftBehind asks the target itself, past the proxy, for everything that each
// image is made of, and counts the manifests that are not there or, of what is
// attached, not listed. An image that is not there, or lacks a blob, is an
// error.
func leftBehind(ctx context.Context, target string, images []image, pairs []pair) (int, error) {
	left := 0
	for n, i := range images {
		repository, tag := cut(pairs[n].target)
		digest, err := resolve(ctx, target, repository, tag)
		if err != nil {
			return 0, err
		}
		if digest != i.root {
			return 0, fmt.Errorf("%s is %q there, and should be %s", pairs[n].target, digest, i.root)
		}
		listed := map[string]bool{}
		for _, m := range i.manifests {
			if len(i.attached) > 0 {
				for _, d := range list(ctx, target, repository, testimage.FallbackTag(m)) {
					listed[d] = true
				}
			}
		}
		for tag, digest := range i.tags {
			there, err := resolve(ctx, target, repository, tag)
			if err != nil {
				return 0, err
			}
			listed[digest] = there == digest
		}
		whole := true
		for _, m := range i.manifests {
			there, err := resolve(ctx, target, repository, m)
			if err != nil {
				return 0, err
			}
			if there != m || slices.Contains(i.attached, m) && !listed[m] {
				left++
				if !slices.Contains(i.attached, m) {
					return 0, fmt.Errorf("%s arrived without its part %s", pairs[n].target, m)
				}
				whole = false
			}
		}
		if !whole {
			continue // whose blobs are missing is known by now
		}
		for _, b := range i.blobs {
			resp, err := ask(ctx, http.MethodHead, target, repository+"/blobs/"+b)
			if err != nil {
				return 0, err
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				return 0, fmt.Errorf("%s arrived without its blob %s", pairs[n].target, b)
			}
		}
	}
	return left, nil
}

func cut(reference string) (repository, tag string) {
	for n := len(reference) - 1; n >= 0; n-- {
		if reference[n] == ':' {
			return reference[:n], reference[n+1:]
		}
	}
	return reference, ""
}

func ask(ctx context.Context, method, host, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+host+"/v2/"+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", bothTypes)
	return direct.Do(req)
}

// resolve tells a reference's digest, "" where there is none.
func resolve(ctx context.Context, host, repository, reference string) (string, error) {
	resp, err := ask(ctx, http.MethodHead, host, repository+"/manifests/"+reference)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return resp.Header.Get("Docker-Content-Digest"), nil
	case http.StatusNotFound:
		return "", nil
	}
	return "", fmt.Errorf("the target answers %s for %s:%s", resp.Status, repository, reference)
}

// list reads the digests that an index names; none is an empty one.
func list(ctx context.Context, host, repository, reference string) []string {
	resp, err := ask(ctx, http.MethodGet, host, repository+"/manifests/"+reference)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	var d testimage.Manifest
	if err != nil || resp.StatusCode != http.StatusOK || json.Unmarshal(content, &d) != nil {
		return nil
	}
	var digests []string
	for _, m := range d.Manifests {
		digests = append(digests, m.Digest)
	}
	return digests
}
