"""Learning how people move: motion clips, an error model of the HMR engines, the motion VAE and the smoothers."""
