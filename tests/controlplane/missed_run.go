package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	_ "k8s.io/kubernetes/pkg/controller/cronjob"
	"k8s.io/kubernetes/pkg/util/parsers"
)

// The CronJob controller's own: which run it would start now, and how it reads schedule and time zone together.

//go:linkname nextScheduleTime k8s.io/kubernetes/pkg/controller/cronjob.nextScheduleTime
func nextScheduleTime(klog.Logger, *batchv1.CronJob, time.Time, cron.Schedule, record.EventRecorder) (*time.Time, error)

//go:linkname formatSchedule k8s.io/kubernetes/pkg/controller/cronjob.formatSchedule
func formatSchedule(*batchv1.CronJob, record.EventRecorder) string

type question struct {
	CronJob batchv1.CronJob `json:"cronJob"`
	Now     time.Time       `json:"now"`
}

// Answers each question on standard input, a CronJob and a time, with the run that the controller would start at that time
// if the CronJob were not suspended, or null.
func missedRuns() error {
	time.Local = time.UTC
	questions, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var asked question
		if err := questions.Decode(&asked); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("cannot read the question: %w", err)
		}
		if err := answers.Encode(missedRun(&asked.CronJob, asked.Now)); err != nil {
			return err
		}
	}
}

func missedRun(cronJob *batchv1.CronJob, now time.Time) *time.Time {
	if zone := cronJob.Spec.TimeZone; zone != nil {
		if _, err := time.LoadLocation(*zone); err != nil {
			return nil
		}
	}
	schedule, err := parsers.ParseCronScheduleWithPanicRecovery(formatSchedule(cronJob, nil))
	if err != nil {
		return nil
	}
	run, err := nextScheduleTime(klog.Background(), cronJob, now, schedule, &record.FakeRecorder{})
	if err != nil || run == nil {
		return nil
	}
	utc := run.UTC()
	return &utc
}
