package account

import "context"

type actorKey struct{}

// LocalActor is who acts where no user is known: whoever may open the operator socket.
const LocalActor = "operator"

// As says for whom everything is done that is done with the context it returns; audit
// records name it.
func As(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// Actor is whom [As] has named, or LocalActor.
func Actor(ctx context.Context) string {
	if actor, ok := ctx.Value(actorKey{}).(string); ok {
		return actor
	}
	return LocalActor
}
