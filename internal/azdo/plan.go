package azdo

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"acrpromote/internal/approval"
)

// maxPlan limits the size of a published plan in bytes. That of 500 images at 20
// targets has less than 2 MiB.
const maxPlan = 4 << 20

// plainText is the content of an attachment.
type plainText string

func (p *plainText) read(body io.Reader) error {
	content, err := io.ReadAll(io.LimitReader(body, maxPlan+1))
	if err == nil && len(content) > maxPlan {
		err = &malformed{reason: fmt.Sprintf("it is longer than %d MiB", maxPlan>>20)}
	}
	*p = plainText(content)
	return err
}

// maxAttempts limits how many attachments with one code are read.
const maxAttempts = 4

// Plans calls take with what steps of this run have published under some codes, until
// it returns true for the code. Any step can have published it, so that it is only a
// claim. What cannot be read is left out: plans explain, and decide nothing. In a
// classic release there are none.
func (s *Service) Plans(ctx context.Context, codes []string, take func(code, content string) bool) {
	if _, _ = s.Run(ctx); s.areas == nil || s.claims.Source() != approval.YAML {
		return
	}
	route := s.inProject(map[string]string{"buildId": strconv.Itoa(s.claims.BuildID), "type": approval.PlanAttachment})
	var list attachments
	if err := s.get(ctx, areaBuild, locationAttachments, "7.1-preview.2", route, nil, &list); err != nil || list.Value == nil {
		return
	}
	for _, code := range codes {
		attempts := 0
		for _, found := range *list.Value {
			place, ok := placeOf(found.Links.Self.Href, approval.PlanAttachment)
			timeline, record := approval.GUID(place.timeline), approval.GUID(place.record)
			if !ok || found.Name != code || place.name != code || place.build != s.claims.BuildID || timeline == "" || record == "" {
				continue
			}
			if attempts++; attempts > maxAttempts {
				break
			}
			route := s.inProject(map[string]string{
				"buildId": strconv.Itoa(place.build), "timelineId": timeline, "recordId": record, "type": approval.PlanAttachment, "name": code,
			})
			var content plainText
			if s.get(context.WithValue(ctx, plainContent{}, true), areaBuild, locationAttachment, "7.1-preview.2", route, nil, &content) == nil && take(code, string(content)) {
				break
			}
		}
	}
}
