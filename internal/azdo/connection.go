package azdo

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"acrpromote/internal/approval"
)

// connectionList are service connections, with the fields that are needed. One that
// cannot be viewed is left out, or null.
type connectionList struct {
	Value []*struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"value"`
}

// ConnectionNames returns the names of service connections by GUID. Those that the
// job's identity may not view are left out, and so are all if they cannot be read.
func (s *Service) ConnectionNames(ctx context.Context, ids []string) map[string]string {
	if s.Run(ctx); s.areas == nil || len(ids) == 0 {
		return nil
	}
	var list connectionList
	query := url.Values{"endpointIds": {strings.Join(ids, ",")}}
	if err := s.get(ctx, areaEndpoints, locationEndpoints, "7.1-preview.4", s.inProject(nil), query, &list); err != nil {
		return nil
	}
	names := map[string]string{}
	for _, c := range list.Value {
		if c == nil || c.Name == "" {
			continue
		}
		if id := approval.GUID(c.ID); slices.ContainsFunc(ids, func(wanted string) bool { return approval.SameGUID(wanted, id) }) {
			names[id] = c.Name
		}
	}
	return names
}
