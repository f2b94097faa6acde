package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Each probe works in a repository of its own: "livecheck/" and the fact's id.

func probeLockedTagPut(ctx context.Context, c *check) answer {
	return c.ofLockedTag(ctx, "locked-tag-equal-put", func(r *repository, image *pushed) (answer, error) {
		got, err := r.put(ctx, image, "1")
		return got.either(answerB, answerA), err
	})
}

func probeLockedTagPatch(ctx context.Context, c *check) answer {
	return c.ofLockedTag(ctx, "locked-tag-patch", func(r *repository, _ *pushed) (answer, error) {
		got, err := r.change(ctx, "1", lockedTag)
		return got.either(answerA, answerB), err
	})
}

// ofLockedTag asks a question about an image whose tag "1" is locked.
func (c *check) ofLockedTag(ctx context.Context, id string, question func(*repository, *pushed) (answer, error)) answer {
	return c.ofImage(ctx, ofRegistry, id, func(r *repository, image *pushed) (answer, error) {
		if err := r.set(ctx, "1", lockedTag); err != nil {
			return answer{}, err
		}
		return question(r, image)
	})
}

// ofImage asks a question about an image with the tag "1".
func (c *check) ofImage(ctx context.Context, of part, id string, question func(*repository, *pushed) (answer, error)) answer {
	r := c.registry[of].repository(id)
	image, err := r.push(ctx, "1", nil)
	if err != nil {
		return failed(err)
	}
	a, err := question(r, image)
	if err != nil {
		return failed(err)
	}
	return a
}

func probeLockedManifestReferrer(ctx context.Context, c *check) answer {
	return c.ofLockedManifest(ctx, "locked-manifest-referrer", func(r *repository, image *pushed) (answer, error) {
		artifact, err := r.build(ctx, image)
		if err != nil {
			return answer{}, err
		}
		got, err := r.put(ctx, artifact, artifact.digest)
		return got.either(answerA, answerB), err
	})
}

func probeLockedManifestTag(ctx context.Context, c *check) answer {
	return c.ofLockedManifest(ctx, "locked-manifest-tag", func(r *repository, image *pushed) (answer, error) {
		got, err := r.put(ctx, image, "2")
		return got.either(answerB, answerA), err
	})
}

func (c *check) ofLockedManifest(ctx context.Context, id string, question func(*repository, *pushed) (answer, error)) answer {
	return c.ofImage(ctx, ofRegistry, id, func(r *repository, image *pushed) (answer, error) {
		if err := r.set(ctx, image.digest, writeLocked); err != nil {
			return answer{}, err
		}
		return question(r, image)
	})
}

func probeReadDisabledManifest(ctx context.Context, c *check) answer {
	return c.ofReadDisabled(ctx, "read-disabled-manifest", func(r *repository, image *pushed) (answer, error) {
		got, err := r.do(ctx, http.MethodGet, r.distribution("/manifests/"+image.digest), "", nil)
		switch got.status {
		case http.StatusMethodNotAllowed:
			return got.answer(answerA), err
		case http.StatusNotFound:
			return got.answer(answerB), err
		}
		return got.answer(answerOther), err
	})
}

func probeReadDisabledAttributes(ctx context.Context, c *check) answer {
	return c.ofReadDisabled(ctx, "read-disabled-attributes", func(r *repository, image *pushed) (answer, error) {
		got, err := r.do(ctx, http.MethodGet, r.attributesPath(image.digest), "", nil)
		return got.either(answerA, answerB), err
	})
}

func probeReadDisabledReferrers(ctx context.Context, c *check) answer {
	return c.ofReadDisabled(ctx, "read-disabled-referrers", func(r *repository, image *pushed) (answer, error) {
		got, err := r.do(ctx, http.MethodGet, r.distribution("/referrers/"+image.digest), "", nil)
		if err != nil {
			return answer{}, err
		}
		if list, ok := referrers(got); ok && len(list) == 0 {
			return got.answer(answerOther), nil // neither listed nor refused
		}
		return got.either(answerA, answerB), nil
	})
}

func probeReadDisabledSubject(ctx context.Context, c *check) answer {
	return c.ofReadDisabled(ctx, "read-disabled-subject", func(r *repository, image *pushed) (answer, error) {
		artifact, err := r.build(ctx, image)
		if err != nil {
			return answer{}, err
		}
		got, err := r.put(ctx, artifact, artifact.digest)
		return got.either(answerA, answerB), err
	})
}

func probeReadDisabledPut(ctx context.Context, c *check) answer {
	return c.ofReadDisabled(ctx, "read-disabled-put", func(r *repository, image *pushed) (answer, error) {
		if _, err := r.put(ctx, image, "2"); err != nil {
			return answer{}, err
		}
		got, err := r.do(ctx, http.MethodGet, r.distribution("/manifests/"+image.digest), "", nil)
		return got.either(answerB, answerA), err
	})
}

// ofReadDisabled asks a question about an image with a referrer that may not be
// read.
func (c *check) ofReadDisabled(ctx context.Context, id string, question func(*repository, *pushed) (answer, error)) answer {
	return c.ofImage(ctx, ofRegistry, id, func(r *repository, image *pushed) (answer, error) {
		if _, err := r.push(ctx, "", image); err != nil {
			return answer{}, err
		}
		if err := r.set(ctx, image.digest, readDisabled); err != nil {
			return answer{}, err
		}
		return question(r, image)
	})
}

// referrers returns the digests in a list of referrers, if the response is one.
func referrers(r response) (digests []string, ok bool) {
	var document struct{ Manifests []descriptor }
	if !r.accepted() || json.Unmarshal(r.body, &document) != nil {
		return nil, false
	}
	for _, d := range document.Manifests {
		digests = append(digests, d.Digest)
	}
	return digests, true
}

func probeListedReferrers(ctx context.Context, c *check) answer {
	return c.ofImage(ctx, ofRegistry, "listed-referrers", func(r *repository, image *pushed) (answer, error) {
		artifact, err := r.push(ctx, "", image)
		if err != nil {
			return answer{}, err
		}
		got, err := r.do(ctx, http.MethodGet, "/acr/v1/"+url.PathEscape(r.name)+"/_manifests?api-version=2021-07-01", "", nil)
		if err != nil {
			return answer{}, err
		}
		listed, ok := referrers(got) // the two lists have the same form
		switch {
		case !ok:
			return got.answer(answerOther), nil
		case slices.Contains(listed, artifact.digest):
			return got.answer(answerA), nil
		}
		return got.answer(answerB), nil
	})
}

func probePullTokenTags(ctx context.Context, c *check) answer {
	return c.ofImage(ctx, ofRegistry, "pull-token-tags", func(r *repository, _ *pushed) (answer, error) {
		got, err := r.with(ctx, "pull", http.MethodGet, r.distribution("/tags/list"), "", nil)
		return got.either(answerB, answerA), err
	})
}

func probePullTokenAttributes(ctx context.Context, c *check) answer {
	return c.ofImage(ctx, ofRegistry, "pull-token-attributes", func(r *repository, _ *pushed) (answer, error) {
		got, err := r.with(ctx, "pull", http.MethodGet, r.attributesPath("1"), "", nil)
		return got.either(answerB, answerA), err
	})
}

func probePartialScope(ctx context.Context, c *check) answer {
	if err := c.reader.challenge(ctx); err != nil {
		return failed(err)
	}
	_, got, err := c.reader.tokenAs(ctx, c.reader.service, "repository:"+repositoryOf("partial-scope")+":pull,push")
	if err != nil {
		return failed(err)
	}
	return got.either(answerA, answerB)
}

func probeSoftDeletedPut(ctx context.Context, c *check) answer {
	return c.ofImage(ctx, ofSoftDelete, "soft-deleted-put", func(r *repository, image *pushed) (answer, error) {
		got, err := r.do(ctx, http.MethodDelete, r.distribution("/manifests/"+image.digest), "", nil)
		if err != nil {
			return answer{}, err
		}
		if err := got.want("deleting the image"); err != nil {
			return answer{}, err
		}
		got, err = r.put(ctx, image, "1")
		return got.either(answerB, answerA), err
	})
}

func probeRetention(ctx context.Context, c *check) answer {
	r := c.registry[ofRetention].repository("untagged-retention")
	image, err := r.push(ctx, "", nil)
	if err != nil {
		return failed(err)
	}
	began := time.Now()
	for {
		got, err := r.do(ctx, http.MethodGet, r.distribution("/manifests/"+image.digest), "", nil)
		if err != nil {
			return failed(err)
		}
		waited := time.Since(began).Round(time.Second)
		switch {
		case got.status == http.StatusNotFound:
			a := got.answer(answerA)
			a.Why = fmt.Sprintf("deleted within %v", waited)
			return a
		case waited >= c.o.wait:
			a := got.either(answerB, answerOther)
			a.Body, a.Why = "", fmt.Sprintf("kept for %v", waited)
			return a
		}
		select {
		case <-time.After(min(5*time.Second, max(c.o.wait/10, 10*time.Millisecond))):
		case <-ctx.Done():
			return failed(ctx.Err())
		}
	}
}

func probeRegionalService(ctx context.Context, c *check) answer {
	regional, main := c.registry[ofRegional], c.registry[ofRegistry]
	if err := regional.challenge(ctx); err != nil {
		return failed(err)
	}
	// Which of the two names gets a token is reported as well.
	body := ""
	for _, service := range []string{main.host, regional.host} {
		_, got, err := regional.tokenAs(ctx, service, "registry:catalog:*")
		switch {
		case err != nil:
			body += fmt.Sprintf("service=%s: %v; ", service, err)
		default:
			body += fmt.Sprintf("service=%s: %d %s; ", service, got.status, got.code())
		}
	}
	a := answer{Answer: answerOther, Body: body, Why: "the challenge names " + regional.service}
	switch regional.service {
	case main.host:
		a.Answer = answerA
	case regional.host:
		a.Answer = answerB
	}
	return a
}

func probeRegionalLock(ctx context.Context, c *check) answer {
	return c.ofLockedTag(ctx, "regional-lock", func(r *repository, _ *pushed) (answer, error) {
		there := &repository{c.registry[ofRegional], r.name}
		got, err := there.do(ctx, http.MethodGet, there.attributesPath("1"), "", nil)
		if err != nil {
			return answer{}, err
		}
		var document struct {
			Tag struct {
				Attributes struct {
					Write *bool `json:"writeEnabled"`
				} `json:"changeableAttributes"`
			}
		}
		switch {
		case got.status == http.StatusNotFound:
			return got.answer(answerB), nil // the tag itself is not there yet
		case !got.accepted() || json.Unmarshal(got.body, &document) != nil || document.Tag.Attributes.Write == nil:
			return got.answer(answerOther), nil
		case *document.Tag.Attributes.Write:
			return got.answer(answerB), nil
		}
		return got.answer(answerA), nil
	})
}

func probeKeysReferrers(ctx context.Context, c *check) answer {
	return c.ofImage(ctx, ofKeys, "customer-key-referrers", func(r *repository, image *pushed) (answer, error) {
		artifact, err := r.push(ctx, "", image)
		if err != nil {
			return answer{}, err
		}
		got, err := r.do(ctx, http.MethodGet, r.distribution("/referrers/"+image.digest), "", nil)
		if err != nil {
			return answer{}, err
		}
		list, ok := referrers(got)
		switch {
		case ok && slices.Contains(list, artifact.digest):
			return got.answer(answerB), nil
		case got.status == http.StatusNotFound:
			return got.answer(answerA), nil
		}
		return got.answer(answerOther), nil
	})
}
