"""The parts that the tools share; without exports, as reading help must import little."""
