package image

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"time"
)

// SourceDate is the date of the sources in root: SOURCE_DATE_EPOCH where it is
// set (reproducible-builds.org/specs/source-date-epoch), else the last commit.
func SourceDate(ctx context.Context, root string) (time.Time, error) {
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		var err error
		if epoch, err = run(ctx, root, nil, "git", "log", "-1", "--format=%ct"); err != nil {
			return time.Time{}, fmt.Errorf("date the sources (SOURCE_DATE_EPOCH is not set): %w", err)
		}
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("date the sources: %w", err)
	}
	return time.Unix(seconds, 0), nil
}

// Revision names the sources in root after their last tag and commit.
func Revision(ctx context.Context, root string) (string, error) {
	return run(ctx, root, nil, "git", "describe", "--tags", "--always", "--dirty", "--abbrev=12")
}
