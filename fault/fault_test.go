package fault_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"sdworker/fault"
)

func TestCodeOf(t *testing.T) {
	inner := fault.FieldError("steps", "steps is %d", 0)
	for _, c := range []struct {
		err  error
		want fault.Code
	}{
		{nil, ""},
		{inner, fault.Invalid},
		{fmt.Errorf("while reading: %w", inner), fault.Invalid},
		{&fault.Error{Code: fault.Broken, Err: inner}, fault.Broken}, // the first in the tree
		{context.Canceled, fault.Canceled},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), fault.Canceled},
		{errors.New("anything"), fault.Internal},
	} {
		require.Equal(t, c.want, fault.CodeOf(c.err), "%v", c.err)
	}
}

func TestWords(t *testing.T) {
	err := &fault.Error{Code: fault.Exhausted, Op: "decode", Msg: "no room", Err: errors.New("cuda 2")}
	require.EqualError(t, err, "decode: no room: cuda 2")
	require.Equal(t, "no room", fault.Message(fmt.Errorf("job 1: %w", err)), "what a client may see")
	require.Equal(t, "plain", fault.Message(errors.New("plain")))
}

func TestStoppedTellsTheCause(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("the platform wants its GPU back")
	cancel(why)
	err := fault.Stopped(ctx, "sample")
	require.Equal(t, fault.Canceled, fault.CodeOf(err))
	require.ErrorIs(t, err, why)
	require.Equal(t, "canceled", fault.Message(err))
}
