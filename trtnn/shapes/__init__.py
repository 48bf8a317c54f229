"""The shapes of a call: lengths that are known when the network runs, inputs as they are declared, and profiles."""
