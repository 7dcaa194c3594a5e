"""From state to words: what the screens say, without knowing how they draw it."""
