package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// collectionAddress returns the URL of something in the collection.
func (j *job) collectionAddress(path string) string {
	return strings.TrimSuffix(j.collection, "/") + "/_apis/" + path
}

// probeResourceRights reads what doctor reads of an environment.
func probeResourceRights(ctx context.Context, c *check) answer {
	j := c.job
	checkpoint, _, err := j.checkpoint(ctx)
	if err != nil {
		return failed(err)
	}
	var s suite
	if err := j.read(ctx, suitePath(checkpoint), &s); err != nil {
		return failed(err)
	}
	environment := ""
	for _, run := range s.CheckRuns {
		if run.Ref.Resource.Type == "environment" {
			environment = run.Ref.Resource.ID
		}
	}
	if environment == "" {
		return unchecked("the check suite names no environment")
	}
	pipelines, err := j.send(ctx, http.MethodGet, "pipelines/pipelinepermissions/environment/"+url.PathEscape(environment)+"?api-version=7.0-preview.1", "", nil)
	if err != nil {
		return failed(err)
	}
	roles, err := j.sendTo(ctx, http.MethodGet, j.collectionAddress("securityroles/scopes/distributedtask.environmentreferencerole/roleassignments/resources/"+
		url.PathEscape(os.Getenv("SYSTEM_TEAMPROJECTID")+"_"+environment)+"?api-version=7.0-preview.1"), "", nil)
	if err != nil {
		return failed(err)
	}
	if pipelines.accepted() != roles.accepted() {
		return answer{Answer: answerOther, Status: roles.status, Why: fmt.Sprintf("pipelines: %d, roles: %d", pipelines.status, roles.status)}
	}
	return roles.either(answerA, answerB)
}

// accessList reads an access control list of the run's repository.
func (j *job) accessList(ctx context.Context, extended string) (response, error) {
	token := "repoV2/" + os.Getenv("SYSTEM_TEAMPROJECTID") + "/" + os.Getenv("BUILD_REPOSITORY_ID")
	return j.sendTo(ctx, http.MethodGet, j.collectionAddress("accesscontrollists/2e9eb7ed-3c0a-47d4-87c1-0ffdd275fd87?token="+url.QueryEscape(token)+extended+"&api-version=7.0"), "", nil)
}

func probeRepositoryRights(ctx context.Context, c *check) answer {
	got, err := c.job.accessList(ctx, "")
	if err != nil {
		return failed(err)
	}
	return got.either(answerA, answerB)
}

func probeInheritedRights(ctx context.Context, c *check) answer {
	got, err := c.job.accessList(ctx, "&includeExtendedInfo=true")
	if err != nil {
		return failed(err)
	}
	var list struct {
		Value []struct {
			Entries map[string]struct {
				Allow, Deny int
				Extended    struct{ EffectiveAllow, InheritedAllow int } `json:"extendedInfo"`
			} `json:"acesDictionary"`
		}
	}
	if !got.accepted() || json.Unmarshal(got.body, &list) != nil {
		return unchecked(fmt.Sprintf("the list cannot be read: %d", got.status))
	}
	explicit, inherited := 0, 0
	for _, acl := range list.Value {
		for _, e := range acl.Entries {
			switch {
			case e.Allow|e.Deny != 0:
				explicit++
			case e.Extended.EffectiveAllow != 0:
				inherited++
			}
		}
	}
	return between(inherited > 0, fmt.Sprintf("%d entries of the repository's own, %d inherited ones", explicit, inherited))
}
